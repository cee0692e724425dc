#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Thousands of requests that try to come past the gateway, at two upstreams: none reaches a denied endpoint, another device or
another identity, and what may pass does.

    tests/e2e/bypass_test.py [FAMILY...]

The requests are those of build/<preset>/bin/bypass_variants (tests/proto/bypass_variants.h), sent as they are, byte for byte. Each
carries its number as User-Agent; what the stand-in and nginx noted down is judged here. The test first sends some of them to the
stand-in without a gateway, where it must find what it looks for.
"""
import base64
import collections
import concurrent.futures
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import urllib.parse

import peers
import raw_http2
from gateway_world import GatewayWorld
from processes import BIN, free_ports, wait_until

PASSWORD = "correct horse"
USER, OTHER = "user1@example.com", "user2@example.com"
ALLOWED, BLOCKED, GUID, OTHERS = "ALLOWEDPHONE1", "BLOCKEDPHONE1", "9A01FF3C00D24E5F8811223344556677", "ALLOWEDPHONE2"
EWS, SYNC = "/EWS/Exchange.asmx", "/Microsoft-Server-ActiveSync"
NGINX_HOST = "second.example.com"
CONNECTIONS = 8           # at a time
ANSWER_SECONDS = 20.0     # after which a connection is given up; counted
# All that a forwarded request may have.
FIELDS = {"host", "authorization", "user-agent", "content-type", "content-length", "ms-asprotocolversion", "soapaction", "x-anchormailbox",
          "x-preferserveraffinity", "x-forwarded-for", "connection", "accept", "accept-encoding"}
# Which of the user's names may stand in a query.
NAMES = {"", USER, "example\\user1", "user1", "\\" + USER, "\\user1", "example.com\\user1", "user1@alias.example.com"}
# Fields that nginx is asked for; a name with "_" would come as with "-".
WATCHED = ["cookie", "x-original-url", "x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override", "x-forwarded-host",
           "x-forwarded-proto", "forwarded", "via", "x-beresource", "x-commonaccesstoken", "x-isfromcafe", "x-isfrombackend", "msexchproxyuri",
           "x-backend-diag-data", "x-owa-explicitlogonuser", "x-upnanchormailbox", "x-publicfoldermailbox", "x-ms-forwarded-client-ip",
           "front-end-https", "x-arr-ssl", "translate", "destination", "x-user-identity", "x-remote-user", "remote-user", "ssl-client-cert",
           "x-real-ip", "true-client-ip", "te", "trailer", "upgrade", "http2-settings", "x-bellhop-context", "content-encoding"]

GATEWAY = """[[gateway.domain]]
name = "example.com"
netbios = "EXAMPLE"
aliases = ["alias.example.com"]
"""
POLICY = """[policy]
enabled = true
unknown_devices = "block"
known_devices = "allow"
[[policy.rule]]
name = "ews"
verdict = "allow"
points = ["ews"]
"""
DEVICES = [{"deviceId": ALLOWED, "account": USER, "managed": True}, {"deviceId": OTHERS, "account": OTHER, "managed": True},
           {"deviceId": BLOCKED, "account": USER, "override": "block"}, {"deviceId": GUID, "account": USER, "override": "block"}]


# ---- sending ----

class Connection:
    """One TLS connection that says what it is told, and counts the answers."""

    def __init__(self, port):
        self.socket = raw_http2.ANY_SERVER.wrap_socket(socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS), server_hostname="localhost")
        self.socket.settimeout(ANSWER_SECONDS)
        self.buffer = b""

    def more(self):
        try:
            piece = self.socket.recv(65536)
        except (ConnectionError, ssl.SSLError) as error:
            if isinstance(error, TimeoutError):
                raise
            piece = b""
        self.buffer += piece
        return bool(piece)

    def until(self, end):
        while end not in self.buffer:
            if not self.more():
                return None
        text, self.buffer = self.buffer.split(end, 1)
        return text

    def exactly(self, size):
        while len(self.buffer) < size:
            if not self.more():
                return False
        self.buffer = self.buffer[size:]
        return True

    def answer(self):
        """The status of the next answer that is not an interim one; None at the end."""
        head = self.until(b"\r\n\r\n")
        if head is None:
            return None
        status = int(head.split(b" ", 2)[1])
        if status < 200:
            return self.answer()
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])}
        if fields.get(b"transfer-encoding") == b"chunked":
            while (size := self.until(b"\r\n")) is not None and self.exactly(int(size, 16) + 2) and int(size, 16):
                pass
        elif not self.exactly(int(fields.get(b"content-length", b"0"))):
            return None
        return status


def send(port, data, requests):
    """The statuses of the answers; at most as many as there are requests."""
    connection = Connection(port)
    try:
        try:
            connection.socket.sendall(data)
        except (ConnectionError, ssl.SSLError):
            pass  # refused before all of it was read
        statuses = []
        while len(statuses) < requests and (status := connection.answer()) is not None:
            statuses.append(status)
        return statuses
    finally:
        connection.socket.close()


def send_all(port, variants, change=lambda data: data):
    """{number: statuses}; a connection that was given up has None in them."""
    def one(variant):
        data = change(variant["bytes"])
        try:
            return variant["number"], send(port, data, data.count(b"User-Agent: variant-"))
        except TimeoutError:
            return variant["number"], [None]
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        return dict(pool.map(one, variants))


# ---- the same over HTTP/2, and what only HTTP/2 has ----

FIRST_OF_HTTP2 = 1_000_000  # the numbers of those
# Fields that HTTP/2 does not have (RFC 9113 section 8.2.2) make a request malformed there.
OF_ONE_HOP = {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"te"}


def as_http2(variant):
    """The fields and the body, or None where it is about the text of HTTP/1.1."""
    if variant["family"] in ("framing", "method"):
        return None
    head, _, body = variant["bytes"].partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    method, _, rest = line.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    pairs = [(name.lower(), value.strip()) for name, colon, value in (one.partition(b":") for one in lines)]
    hosts = [value for name, value in pairs if name == b"host"]
    if version != b"HTTP/1.1" or len(hosts) != 1 or not all(b":" in one for one in lines):
        return None
    return [(b":method", method), (b":scheme", b"https"), (b":path", target), (b":authority", hosts[0]),
            *((name, value) for name, value in pairs if name not in (b"host", b"content-length"))], body


def of_http2_alone():
    """Variants with fields and body instead of bytes."""
    login = b"Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode())
    envelope = (b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:m="http://schemas.microsoft.com/exchange/services/2006/'
                b'messages"><s:Body><m:GetFolder/></s:Body></s:Envelope>')
    pseudo = [(b":method", b"POST"), (b":scheme", b"https"), (b":path", EWS.encode()), (b":authority", b"localhost")]
    inner = f"POST {SYNC}?Cmd=Ping&User={USER}&DeviceId={BLOCKED}&DeviceType=x HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    changes = []  # of (pseudo fields, further fields, body)

    def replaced(name, value):
        return [(one, value if one == name else old) for one, old in pseudo]

    for more in [(b"x-a", b"b\r\nX-Original-URL: /owa"), (b"x-a", b"b\nc: d"), (b"x-a", b"b\rc"), (b"x-a", b"\0"), (b"x-a\r\nx-b", b"c"), (b"X-Upper", b"a"),
                 (b"x a", b"b"), (b"x-a:", b"b"), (b":evil", b"a"), (b"", b"a"), (b":protocol", b"websocket"), (b":status", b"200"), (b"host", b"evil.example.net"),
                 (b"transfer-encoding", b"chunked"), (b"connection", b"close"), (b"keep-alive", b"a"), (b"proxy-connection", b"a"), (b"upgrade", b"h2c"),
                 (b"te", b"chunked"), (b"content-length", b"0"), (b"content-length", b"1"), (b"content-length", b"%d" % (len(envelope) + 1)), (b"content-length", b"x"),
                 (b"content-length", b"-1"), (b"content-encoding", b"gzip"), (b"authorization", login), (b"content-type", b"text/xml"), (b"x-a", b"\x7f"),
                 (b"x-a", b" b"), (b"x-bellhop-context", b"a"), (b"expect", b"x")]:
        changes.append((pseudo, [more], envelope))
    for name, values in ((b":path", [b"", b"*", b"https://localhost" + EWS.encode(), b"EWS/Exchange.asmx", EWS.encode() + b" HTTP/1.1\r\n" + inner, EWS.encode() + b"\t",
                                     EWS.encode() + b" ", EWS.encode() + b"\x80", EWS.encode() + b"#", EWS.encode() + b"\0", b"/owa\r\n\r\n" + inner]),
                         (b":method", [b"", b"GET", b"post", b"CONNECT", b"POST /owa HTTP/1.1\r\nX: ", b"POST\r\n", b"PROPFIND", b"HEAD"]),
                         (b":authority", [b"", b"localhost@evil.example.net", b"localhost/owa", b"evil.example.net", b"localhost\r\nX: y", b"localhost localhost",
                                          b"localhost:99999", b"localhost,evil"]),
                         (b":scheme", [b"", b"javascript", b"https\r\nX: y", b"file", b"ftp"])):
        for value in values:
            changes.append((replaced(name, value), [], envelope))
        changes.append(([one for one in pseudo if one[0] != name], [], envelope))
        changes.append((pseudo + [(name, dict(pseudo)[name])], [], envelope))
        changes.append(([one for one in pseudo if one[0] != name], [(name, dict(pseudo)[name])], envelope))
    variants = []
    for number, (first, more, body) in enumerate(changes, FIRST_OF_HTTP2):
        fields = [*first, (b"authorization", login), (b"user-agent", b"variant-%d" % number), (b"content-type", b"text/xml; charset=utf-8"), *more]
        variants.append({"number": number, "family": "http2", "expect": "refused", "bytes": repr((first, more)).encode(), "http2": (fields, body)})
    return variants


def send_all_http2(port, variants):
    """{number: how it ended}."""
    def one(variant):
        try:
            return variant["number"], raw_http2.exchange(port, *variant["http2"], ANSWER_SECONDS)
        except TimeoutError:
            return variant["number"], None
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        return dict(pool.map(one, variants))


def over_http2(world, variants):
    asked = [{**variant, "http2": as_http2(variant)} for variant in variants]
    asked = [one for one in asked if one["http2"]]
    for one in asked:
        if any(name in OF_ONE_HOP for name, _ in one["http2"][0]):
            one["expect"] = "refused"
    asked += of_http2_alone()
    ends = send_all_http2(world.gateway_port, asked)
    given_up = [number for number, end in ends.items() if end is None]
    assert not given_up, f"HTTP/2: no end within {ANSWER_SECONDS} s of {given_up[:20]}"
    lawful = at_standin(world, asked).check("HTTP/2")
    told = collections.Counter(ends.values())
    print(f"ok  {len(asked) - lawful} of {len(asked)} kept out over HTTP/2, {lawful} passed as what they are: stand-in; {dict(sorted(told.items()))}")


# ---- judging ----

def number_of(agent):
    found = re.fullmatch(r"variant-(\d+)", agent or "")
    return int(found.group(1)) if found else None


def basic_user(authorization):
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return authorization
    return base64.b64decode(value).partition(b":")[0].decode(errors="replace").lower()


def device_of_record(record):
    """The DeviceId of a base64 query, as its digits where it is not text; "" where there is none."""
    try:
        data = base64.b64decode(record)
    except ValueError:
        return ""
    device = data[5:5 + data[4]] if len(data) > 4 else b""
    return device.decode() if device.isascii() and device.decode().isprintable() else device.hex().upper()


def query_faults(query):
    """What is wrong with a query, however a server reads it."""
    if "&" not in query and re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", query):
        device = device_of_record(query)
        return [] if device.upper() == ALLOWED else [f"device {device}"]
    faults = []
    pairs = [part.partition("=") for part in re.split("[&;]", query)]
    values = collections.defaultdict(list)
    for name, _, value in pairs:
        values[urllib.parse.unquote(urllib.parse.unquote(name)).lower()].append(urllib.parse.unquote(value))
    for name in ("cmd", "deviceid", "devicetype"):
        if len(values[name]) != 1:
            faults.append(f"{len(values[name])} times {name}")
    blocked_may = values["cmd"] == ["Provision"]
    if not blocked_may and [one.upper() for one in values["deviceid"]] != [ALLOWED]:
        faults.append(f"device {values['deviceid']}")
    if len(values["user"]) > 1 or any(one.lower() not in NAMES for one in values["user"]):
        faults.append(f"user {values['user']}")
    if any("&" in urllib.parse.unquote(one) for several in values.values() for one in several):
        faults.append("hidden parameters")
    return faults


def request_faults(method, target, fields, user):
    """What is wrong with a request that reached an upstream."""
    faults = []
    path, _, query = target.partition("?")
    if path == SYNC and method == "OPTIONS":
        faults += query_faults(query) if query else []
    elif path == SYNC and method == "POST":
        faults += query_faults(query)
    elif not (path == EWS and method == "POST" and not query and "?" not in target):
        faults.append(f"{method} {target}")
    if user != USER:
        faults.append(f"in the name of {user}")
    faults += [f"field {name}: {value}" for name, value in fields if name not in FIELDS]
    for name, value in fields:
        if name == "x-anchormailbox" and value.lower() not in NAMES:
            faults.append(f"anchor {value}")
        if name == "x-forwarded-for" and value != "127.0.0.1":
            faults.append(f"x-forwarded-for {value}")
    return faults


class Findings:
    """What reached an upstream, by variant, and what of it should not have."""

    def __init__(self, variants):
        self.variants = {variant["number"]: variant for variant in variants}
        self.reached = set()
        self.faults = []

    def note(self, agent, faults):
        variant = self.variants.get(number_of(agent))
        if variant is None:
            self.faults.append((agent, ["a request that nobody sent"]))
            return
        self.reached.add(variant["number"])
        if variant["expect"] == "refused":
            faults = faults + ["it was to be refused"]
        if faults:
            self.faults.append((f"{variant['family']} {variant['number']}", faults))

    def check(self, where):
        for name, faults in self.faults[:20]:
            print(f"  {where}: {name}: {'; '.join(faults)}", file=sys.stderr)
        lawful = {number for number, variant in self.variants.items() if variant["expect"] == "lawful"}
        missing = sorted(lawful - self.reached)
        for number in missing[:20]:
            print(f"  {where}: {self.variants[number]['family']} {number} did not come through:\n"
                  f"{self.variants[number]['bytes'][:400].decode(errors='replace')}", file=sys.stderr)
        assert not self.faults, f"{where}: {len(self.faults)} requests came through that must not"
        assert not missing, f"{where}: {len(missing)} of {len(lawful)} lawful requests did not come through"
        return len(lawful)


def new_requests(world):
    """What reached the stand-in since the last time."""
    requests, after = [], getattr(world, "requests_seen", 0)
    while True:
        page = world.exchange("GET", f"/requests?after={after}&limit=1000")
        assert page["forgotten"] == 0, "the stand-in forgot requests; raise --requests"
        if not page["requests"]:
            world.requests_seen = after
            return requests
        requests += page["requests"]
        after = page["last"]


def at_standin(world, variants):
    findings = Findings(variants)
    for one in new_requests(world):
        fields = [(name.lower(), value) for name, value in one["headers"]]
        faults = request_faults(one["method"], one["target"], fields, one["user"].lower())
        if one["operation"] not in ("GetFolder", "FolderSync", "Provision", "OPTIONS"):
            faults.append(f"operation {one['operation']}")
        if one["mailbox"] not in ("", USER):
            faults.append(f"mailbox {one['mailbox']}")
        findings.note(dict(fields).get("user-agent"), faults)
    return findings


# ---- nginx ----

class Nginx:
    """Answers everything with 200, and notes down how it reads it."""

    def __init__(self, world):
        self.port = free_ports(1)[0]
        self.folder = f"{world.folder}/nginx"
        os.makedirs(self.folder)
        os.chmod(world.folder, 0o755)
        watched = ",".join(f'"{name}":"$http_{name.replace("-", "_")}"' for name in WATCHED)
        with open(f"{self.folder}/nginx.conf", "w") as file:
            file.write(f"""
daemon off;
pid {self.folder}/pid;
error_log {self.folder}/error.log;
worker_processes 1;
{"user root;" if os.geteuid() == 0 else ""}
events {{ worker_connections 1024; }}
http {{
  log_format json escape=json '{{"method":"$request_method","target":"$request_uri","path":"$uri","place":"$place","agent":"$http_user_agent",'
    '"authorization":"$http_authorization","anchor":"$http_x_anchormailbox","for":"$http_x_forwarded_for","device":"$arg_deviceid","user":"$arg_user",'
    '"fields":{{{watched}}}}}';
  access_log {self.folder}/access.log json;
  underscores_in_headers on;
  merge_slashes on;
  client_body_temp_path {self.folder}/body;
  proxy_temp_path {self.folder}/proxy;
  fastcgi_temp_path {self.folder}/fastcgi;
  uwsgi_temp_path {self.folder}/uwsgi;
  scgi_temp_path {self.folder}/scgi;
  server {{
    listen 127.0.0.1:{self.port} ssl;
    server_name localhost;
    ssl_certificate {world.folder}/server.pem;
    ssl_certificate_key {world.folder}/server-key.pem;
    set $place other;
    location = {EWS} {{ set $place ews; return 200; }}
    location = {SYNC} {{ set $place activesync; return 200; }}
    location / {{ return 200; }}
  }}
}}
""")
        program = shutil.which("nginx", path=peers.environment()["PATH"])
        log = open(f"{self.folder}/nginx.log", "ab")
        self.process = subprocess.Popen([program, "-p", self.folder, "-c", f"{self.folder}/nginx.conf"], stdout=log, stderr=log,
                                        stdin=subprocess.DEVNULL, env=peers.environment())
        world.processes.append(self.process)
        wait_until("nginx answers", self.answers)

    def answers(self):
        assert self.process.poll() is None, "nginx ended:\n" + open(f"{self.folder}/nginx.log").read()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except ConnectionError:
            return False

    def requests(self):
        with open(f"{self.folder}/access.log", errors="replace") as file:
            return [json.loads(line) for line in file]


def at_nginx(nginx, variants):
    findings = Findings(variants)
    for one in nginx.requests():
        fields = [(name, value) for name, value in one["fields"].items() if value]
        fields += [("x-anchormailbox", one["anchor"])] if one["anchor"] else []
        fields += [("x-forwarded-for", one["for"])] if one["for"] else []
        faults = request_faults(one["method"], one["target"], fields, basic_user(one["authorization"]))
        if one["path"] not in (EWS, SYNC) or one["place"] == "other":
            faults.append(f"nginx sees {one['path']}")
        if one["device"] and one["device"].upper() != ALLOWED and "Cmd=Provision" not in one["target"]:
            faults.append(f"nginx sees device {one['device']}")
        findings.note(one["agent"], faults)
    return findings


# ---- the test ----

def finds_what_comes_past(world, variants):
    """The stand-in without a gateway: what it notes down has faults of every kind that is looked for."""
    some = [one for one in variants if one["family"] in ("header", "cookie", "identity", "query", "form", "wbxml", "soap")]
    send_all(world.ews_port, some[::6])
    findings = at_standin(world, variants)
    found = collections.Counter(fault.split(" ")[0] for _, faults in findings.faults for fault in faults)
    for kind in ("field", "device", "user", "in", "operation", "it"):
        assert found[kind], f"nothing was found of kind '{kind}': {found}"
    print(f"ok  without a gateway {sum(found.values())} faults are found in {len(findings.reached)} requests: {dict(found)}")


def judge_statuses(where, statuses, variants):
    refused = [one for one in variants if one["expect"] == "refused"]
    given_up = [one["number"] for one in variants if None in statuses[one["number"]]]
    assert not given_up, f"{where}: no answer within {ANSWER_SECONDS} s to {given_up[:20]}"
    # A refusal says so: 4xx, 501 or 505, or the connection ends at once. Never 2xx, never a fault of ours.
    strange = [one for one in refused if any(not (400 <= status < 500 or status in (501, 505)) for status in statuses[one["number"]])]
    for one in strange[:20]:
        print(f"  {where}: {one['family']} {one['number']} was answered {statuses[one['number']]}:\n{one['bytes'][:400].decode(errors='replace')}",
              file=sys.stderr)
    assert not strange, f"{where}: {len(strange)} of {len(refused)} were not refused as they should be"
    return collections.Counter(status for one in refused for status in statuses[one["number"]])


def main():
    peers.need("nginx")
    lines = subprocess.run([f"{BIN}/bypass_variants"], capture_output=True, check=True).stdout.splitlines()
    variants = [json.loads(line) for line in lines]
    for variant in variants:
        variant["bytes"] = base64.b64decode(variant["bytes"])
    assert len(variants) >= 2000
    if sys.argv[1:]:
        variants = [one for one in variants if one["family"] in sys.argv[1:]]
    second = "\n".join(["[[gateway.route]]", f'hosts = ["{NGINX_HOST}"]', 'default_domain = "example.com"', "[gateway.route.ews]", "%s",
                        "[gateway.route.activesync]", "%s"])
    with GatewayWorld(mailboxes=2, password=PASSWORD, gateway=GATEWAY, policy=POLICY,
                      exchange_options=("--requests", "20000")) as world:
        world.start_standins()
        if not sys.argv[1:]:
            finds_what_comes_past(world, variants)
        nginx = Nginx(world)
        upstream = f'upstream = "https://localhost:{nginx.port}"\nca_file = "{world.folder}/ca.pem"'
        world.server_config = world.server_config.replace(world.policy, second % (upstream, upstream) + "\n" + world.policy)
        world.start_server(token=False)
        world.comply(*DEVICES, method="PUT")

        statuses = send_all(world.gateway_port, variants)
        told = judge_statuses("stand-in", statuses, variants)
        lawful = at_standin(world, variants).check("stand-in")
        print(f"ok  {len(variants) - lawful} of {len(variants)} kept out, {lawful} passed as what they are: stand-in; refusals {dict(sorted(told.items()))}")

        over_http2(world, variants)

        to_nginx = lambda data: data.replace(b"\r\nHost: localhost\r\n", f"\r\nHost: {NGINX_HOST}\r\n".encode())
        statuses = send_all(world.gateway_port, variants, to_nginx)
        told = judge_statuses("nginx", statuses, variants)
        lawful = at_nginx(nginx, variants).check("nginx")
        print(f"ok  {len(variants) - lawful} of {len(variants)} kept out, {lawful} passed as what they are: nginx; refusals {dict(sorted(told.items()))}")


if __name__ == "__main__":
    main()
