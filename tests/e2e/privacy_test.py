#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nothing personal leaves the way of a notification. A server at log level debug lives through registrations with every way to
log on, callbacks, pushes, and all the failures that can be provoked, with data that is marked; then the log and everything else
that the server wrote to its outputs, its metrics, the admin interface's answers, the operators' commands and the store's files
are searched for it, in every spelling.

Positive controls: the data was really used (the stand-ins, to which it belongs, have it), and the search finds each spelling of
each secret where it is planted."""
import base64
import glob
import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import World, wait_until  # noqa: E402

# What Exchange asks for, and how phones log on there. All that `bellhop device subscribe` offers must be walked.
WAYS = {"password": ("basic", "oauth"), "certificate": ("certificate",), "dual": ("dual",)}
AUTHS = {auth for auths in WAYS.values() for auth in auths}
DOMAIN = "marker-domain.example.com"


def spellings(name, value):
    """{what: bytes} of each form in which a value could show itself."""
    raw = value if isinstance(value, bytes) else value.encode()
    forms = {"raw": raw, "lower case": raw.lower(), "upper case": raw.upper(), "hex": raw.hex().encode(), "HEX": raw.hex().upper().encode(),
             "URL": urllib.parse.quote_from_bytes(raw, safe="").encode(), "form": urllib.parse.quote_plus(raw).encode()}
    if isinstance(value, str):
        forms |= {"JSON": json.dumps(value, ensure_ascii=False)[1:-1].encode(), "JSON in ASCII": json.dumps(value)[1:-1].encode(),
                  "UTF-16": value.encode("utf-16-le")}
    for shift in range(3):  # at each alignment, without the characters that depend on the neighbours
        text = base64.b64encode(b"x" * shift + raw + b"x" * (-(shift + len(raw)) % 3))
        cut = text[4 if shift else 0:-4 if (shift + len(raw)) % 3 else None]
        forms[f"base64+{shift}"] = cut
        forms[f"base64url+{shift}"] = cut.translate(bytes.maketrans(b"+/", b"-_"))
    return {f"{name}, {form}": needle for form, needle in forms.items() if len(needle) >= 8}


class Search:
    def __init__(self):
        self.needles = {}
        self.values = {}

    def add(self, kind, value):
        name = f"{kind} #{len(self.values)}"
        self.values[name] = value
        self.needles |= spellings(name, value)

    def hits(self, where, content):
        return [f"{needle} in {where}" for needle, text in self.needles.items() if text in content]

    def prove(self):
        """Each needle is found where it is planted, and nothing where it is not."""
        for name, needle in self.needles.items():
            assert any(hit.startswith(name) for hit in self.hits("a planted text", b"before " + needle + b" after")), name
        assert not self.hits("clean text", b'{"level":"info","event":"started"}' * 1000)


class Person:
    def __init__(self, number, auth):
        mark = secrets.token_hex(5)
        self.auth = auth
        self.address = f"Marked.Person-{mark}@{DOMAIN}"
        self.username = f"MARKDOM\\login-{mark}"
        self.password = f"Pw~{secrets.token_urlsafe(15)}ü"
        self.device = f"device-{mark}"
        self.push_token = secrets.token_hex(32)
        self.secret = None
        self.file_password = f"Pf~{secrets.token_urlsafe(15)}ß"
        self.bundle = None  # the file of the certificate and its key


class Walk:
    def __init__(self, world, search):
        self.world = world
        self.search = search
        self.commands = []  # (what, output) of operators' commands

    # ---- what phones, Exchange and strangers do ----

    def device(self, person, command, *more, check=True):
        account = ["--server", self.world.url, "--api-token", self.world.token, "--ca", f"{self.world.folder}/ca.pem",
                   "--address", person.address, *self.world.version]
        own = [] if command == "getpublickey" else ["--device-id", person.device]
        own += ["--device-secret", person.secret] if person.secret and "--device-secret" not in more else []
        return self.world.run("device", command, *account, *own, *more, check=check)

    def logon(self, person, **changed):
        password = ["--username", person.username, "--password", changed.get("password", person.password)]
        if person.auth == "basic":
            return password
        if person.auth in ("certificate", "dual"):
            certificate = ["--auth", person.auth, "--pkcs12", changed.get("bundle", person.bundle), "--pkcs12-password",
                           changed.get("file_password", person.file_password)]
            return certificate + (password if person.auth == "dual" else [])
        given = self.world.tokens("POST", "/tokens", {"user": person.address.lower()})
        self.search.add("refresh token", given["refreshToken"])
        return ["--auth", "oauth", "--refresh-token", given["refreshToken"], "--token-endpoint", given["tokenEndpoint"],
                "--client-id", given["clientId"], "--scope", given["scope"]]

    def make_certificate(self, person):
        person.bundle = f"{self.world.folder}/{person.device}.p12"
        self.world.run("stand-in", "certificate", "--folder", self.world.folder, "--address", person.address, "--password",
                       person.file_password, "--out", person.bundle)
        self.search.add("file password", person.file_password)
        with open(person.bundle, "rb") as file:
            content = file.read()
        self.search.add("PKCS#12", content)
        self.search.add("PKCS#12's middle", content[len(content) // 2:][:64])
        openssl = lambda *command, data=None: subprocess.run(["openssl", *command], input=data, capture_output=True, check=True).stdout
        pem = openssl("pkcs12", "-in", person.bundle, "-nodes", "-nocerts", "-passin", f"pass:{person.file_password}")
        pem = pem[pem.index(b"-----BEGIN"):]
        der = openssl("pkcs8", "-topk8", "-nocrypt", "-outform", "DER", data=pem)
        self.search.add("private key", der)
        self.search.add("private key as SEC 1", openssl("ec", "-outform", "DER", data=pem))
        self.search.add("private key's number", der[der.index(b"\x04\x20") + 2:][:32])
        for form in (pem, openssl("ec", data=pem)):
            for line in form.decode().splitlines():
                if not line.startswith("-----"):
                    self.search.add("line of the private key's PEM", line)

    def subscribe(self, person, check=True, **changed):
        done = self.device(person, "subscribe", "--push-token", person.push_token, "--ews-url", changed.pop("ews_url", self.world.ews_url),
                           *self.logon(person, **changed), check=check)
        if secret := re.search(r"device secret (\S+)", done.stdout):
            person.secret = secret[1]
            self.search.add("device secret", person.secret)
        return done

    def register(self, person):
        self.search.add("address", person.address)
        self.search.add("user name", person.username)
        self.search.add("login", person.username.split("\\")[1])
        self.search.add("password", person.password)
        self.search.add("device id", person.device)
        self.search.add("push token", person.push_token)
        self.search.add("push token's bytes", bytes.fromhex(person.push_token))
        self.search.add("user id", hashlib.sha256(person.address.lower().encode()).hexdigest())
        self.search.add("user id's bytes", hashlib.sha256(person.address.lower().encode()).digest())
        self.world.exchange("POST", "/mailboxes", {"address": person.address, "username": person.username, "password": person.password})
        certified = person.auth in ("certificate", "dual")
        if certified:
            self.make_certificate(person)
        self.device(person, "getpublickey")
        wrong = {"password": person.password + "-wrong"} if person.auth == "basic" else {}
        if certified:
            wrong = {"file_password": person.file_password + "-wrong"}
        if wrong:
            assert self.subscribe(person, check=False, **wrong).returncode == 1
        self.subscribe(person)
        subscription = self.world.exchange("GET", f"/subscriptions?address={urllib.parse.quote(person.address)}")["subscriptions"][-1]
        capability, creds = re.search(r"id=([^&]+)&creds=(.+)$", subscription["url"]).groups()
        self.search.add("capability", capability)
        self.search.add("capability's bytes", base64.urlsafe_b64decode(capability + "=="))
        self.search.add("creds", creds)
        self.search.add("creds' bytes", base64.urlsafe_b64decode(creds + "=" * (-len(creds) % 4)))
        person.url = subscription["url"].replace("127.0.0.1", "localhost")

    def deliver(self, person, what):
        mark = secrets.token_hex(6)
        mail = {"subject": f"Marked subject {what} {mark}", "senderName": f"Marked Sender {mark}",
                "senderAddress": f"marked.sender.{mark}@{DOMAIN}", "preview": f"Marked preview {mark}"}
        for name, value in mail.items():
            self.search.add(name, value)
        before = self.acknowledged(person)
        self.world.exchange("POST", "/deliver", {"address": person.address, **mail})
        wait_until(f"{what}: the mail of {person.auth} is acknowledged", lambda: self.acknowledged(person) > before, 60)

    def acknowledged(self, person):
        return self.world.exchange("GET", f"/books?address={urllib.parse.quote(person.address)}")["newMailsAcknowledged"]

    def curl(self, url, body, *more):
        done = subprocess.run(["curl", "-sS", "--cacert", f"{self.world.folder}/ca.pem", "-o", "/dev/null", "-w", "%{http_code}", url,
                               *(["--http2"] if self.world.version else ["--http1.1"]), "--data-binary", "@-", *more],
                              input=body.encode(), capture_output=True, timeout=60)
        return int(done.stdout or 0)

    def strangers(self, person):
        """Requests that are refused, full of what must not be told on."""
        api, marked = self.world.url + "/api/ens/", json.dumps({"userId": person.address, "password": person.password})
        token = ["-H", f"ApiToken: {self.world.token}"]
        guess = "guess-" + secrets.token_urlsafe(24)
        self.search.add("guessed token", guess)
        for url, body, headers, wanted in (
                (api + "subscribe", marked, ["-H", f"ApiToken: {guess}"], (401,)),
                (api + "subscribe", marked, token, (422,)), (api + "subscribe", marked[:-3], token, (422,)),
                (api + "subscribe", '{"x":"' + person.password * 4000 + '"}', token, (413,)),
                (api + urllib.parse.quote(person.address), marked, token, (404,)),
                (api + "checkin?" + urllib.parse.quote(person.address), marked, token, (422,)),
                (self.world.url + "/" + urllib.parse.quote(person.password), marked, [], (404,)),
                (person.url, "<a>" + person.address, [], (400,)), (person.url, person.password * 20000, [], (400, 413)),
                (person.url + "A", person.address, [], (404,)), (person.url.replace("id=", "id=A"), person.address, [], (404,)),
                (person.url, marked, ["-H", "Authorization: Basic " + base64.b64encode(person.password.encode()).decode()], (400,))):
            status = self.curl(url, body, *headers)
            assert status in wanted, (url.split("?")[0], status, wanted)
        self.device(person, "checkin", "--device-secret", "wrong-" + person.push_token[:20], check=False)

    def failures(self, person):
        world = self.world
        for kind in ("garbage", "server_error", "truncated", "drop", "unauthorized"):  # after the last, no logon for an hour
            world.exchange("POST", "/faults", {"kind": kind, "operation": "get_item", "count": 1, "mailbox": person.address})
            self.deliver(person, kind)
        if person.auth == "oauth":
            self.subscribe(person)  # after the refusal
            world.tokens("POST", "/faults", {"kind": "invalid_grant", "count": 1})
            self.subscribe(person, check=False)
        world.exchange("POST", "/faults", {"kind": "unauthorized", "operation": "subscribe", "count": 1, "mailbox": person.address})
        self.subscribe(person, check=False)
        self.subscribe(person, check=False, ews_url="https://marked-host.example.org/EWS/Exchange.asmx")
        if person.bundle:
            junk = f"{world.folder}/{person.device}-junk.p12"
            with open(person.bundle, "rb") as whole, open(junk, "wb") as file:
                file.write(whole.read()[:-40] + person.password.encode())
            assert self.subscribe(person, check=False, bundle=junk).returncode == 1
        world.apns("POST", "/rules", {"deviceToken": person.push_token, "reason": "BadDeviceToken", "count": 1})
        self.deliver(person, "dead token")

    # ---- what operators do ----

    def operate(self, person):
        who = ["--tenant", "demo", "--address", person.address]
        for arguments in (["status"], ["users"], ["users", *who], ["device", "list"], ["device", "list", *who],
                          ["device", "show", *who, "--device-id", person.device], ["device", "show", *who, "--device-id", "other"],
                          ["subscription", "list"], ["subscription", "list", *who], ["users", "--tenant", "nobody"],
                          ["token", "list"]):
            for form in ([], ["--json"]):
                if form and arguments[0] == "token":
                    continue
                done = self.world.run(*arguments, *form, "--socket", self.world.socket, check=False)
                self.commands.append((" ".join(arguments[:2]), done.stdout + done.stderr))
        for arguments in (["store", "dump", "--redacted"], ["store", "check"], ["keyring", "status"], ["check"]):
            config = ["--config", self.world.config] if arguments != ["check"] else [self.world.config]
            done = self.world.run(*arguments, *config, check=False)
            self.commands.append((" ".join(arguments), done.stdout + done.stderr))

    def leave(self, person):
        device = json.loads(self.world.run("device", "list", "--tenant", "demo", "--address", person.address, "--json",
                                           "--socket", self.world.socket).stdout)["devices"][0]["id"]
        done = self.world.run("device", "remove", device, "--socket", self.world.socket)
        self.commands.append(("device remove", done.stdout))
        self.device(person, "unsubscribe", check=False)


def admin_answers(world):
    import http.client
    import socket

    class Unix(http.client.HTTPConnection):
        def connect(self):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(world.socket)

    for path in ("/v1/status", "/v1/outcomes", "/v1/users", "/v1/devices", "/v1/subscriptions", "/v1/tokens", "/metrics", "/openapi.json",
                 "/v1/users?tenant=marked", "/v1/nothing"):
        connection = Unix("localhost")
        connection.request("GET", path)
        yield path, connection.getresponse().read()
        connection.close()


def store_files(world):
    for path in glob.glob(f"{world.folder}/data/**", recursive=True):
        if os.path.isfile(path):
            with open(path, "rb") as file:
                yield path, file.read(1 << 28)


def the_data_was_used(world, walk, people):
    """What the stand-ins were given is what is searched for."""
    pushes = str(world.pushes()).encode()
    for name in ("subject", "senderName", "push token"):
        assert any(re.match(rf"{name} #\d+, raw", hit) for hit in walk.search.hits("pushes", pushes)), f"no {name} was pushed"
    urls = b" ".join(s["url"].encode() for person in people
                     for s in world.exchange("GET", f"/subscriptions?address={urllib.parse.quote(person.address)}")["subscriptions"])
    assert any(re.match(r"creds #\d+, raw", hit) for hit in walk.search.hits("callback URLs", urls))
    books = world.exchange("GET", "/books")
    assert (books["certified"] > 0) == any(person.bundle for person in people), books
    log = world.log_of("server")
    assert '"level":"debug"' in log, "the log is not at level debug"
    for event in ("subscribed", "subscription_active", "ews_", "admin_device_removed"):
        assert event in log, f"nothing of {event} in the log: the walk did not get there"


def run(http2, logon):
    config = '[log]\nlevel = "debug"\nlines_per_event_per_second_max = 10000\n'
    search = Search()
    with World(mailboxes=1, server_config=config, time_scale=0.05, http2=http2, exchange_options=("--logon", logon)) as world:
        world.tenant_config = f'oauth_token_hosts = ["localhost"]\noauth_token_ports = [{world.token_port}]'
        world.start_standins()
        world.start_tokens()
        world.start_server()
        search.add("API token", world.token)
        walk = Walk(world, search)
        people = [Person(number, auth) for number, auth in enumerate(WAYS[logon])]
        seen = []  # metrics and answers, while it goes on
        for person in people:
            walk.register(person)
            walk.deliver(person, "plain")
            walk.strangers(person)
            walk.operate(person)
            walk.failures(person)
            seen += list(admin_answers(world))
        for person in people:
            walk.operate(person)
        seen += list(admin_answers(world))
        seen += list(store_files(world))
        walk.leave(people[0])
        the_data_was_used(world, walk, people)
        world.server.terminate()
        assert world.server.wait(20) == 0, world.log_of("server")
        with open(f"{world.folder}/server.log", "rb") as file:
            seen.append(("the server's log and standard error", file.read()))
        seen += list(store_files(world))
        seen += [(f"the output of bellhop {what}", text.encode()) for what, text in walk.commands]

        search.prove()
        hits = [hit for where, content in seen for hit in search.hits(where, content)]
        assert not hits, "personal data is where it must not be:\n" + "\n".join(sorted(set(hits)))
        size = sum(len(content) for _, content in seen)
        print(f"ok: HTTP/{2 if http2 else 1.1}, {' and '.join(WAYS[logon])}: {len(search.needles)} spellings of {len(search.values)} secrets in none of {len(seen)} "
              f"texts and files ({size >> 10} KiB)")


def every_way_to_log_on_is_walked():
    from processes import BIN
    text = subprocess.run([f"{BIN}/bellhop", "device", "subscribe", "--help"], capture_output=True, text=True, timeout=60).stdout
    offered = set(re.search(r"--auth .*\{([^}]*)\}", text)[1].split(","))
    assert offered == AUTHS, f"bellhop offers {offered}, this test walks {AUTHS}: add what is missing to WAYS and Walk.logon"


def main():
    every_way_to_log_on_is_walked()
    for http2 in (False, True):
        for logon in WAYS:
            run(http2, logon)
    return 0


if __name__ == "__main__":
    sys.exit(main())
