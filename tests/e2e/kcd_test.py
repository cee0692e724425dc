#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Logon by certificate at the gateway and by Kerberos at Exchange, with a real KDC (Heimdal, tools/bootstrap-kdc): the certificate
goes in, `Negotiate` goes out, the mailbox is read; and what is refused, at each step.

  kcd_test.py [requests]     default 200"""
import base64
import hashlib
import http.client
import http.server
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import kdc  # noqa: E402
from gateway_world import GatewayWorld  # noqa: E402
from negotiate_helper import NegotiateHelper  # noqa: E402
from processes import SKIP, wait_until  # noqa: E402

FIND = """<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"
 xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types" xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages">
<s:Header><t:RequestServerVersion Version="Exchange2013"/></s:Header><s:Body><m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>Default</t:BaseShape></m:ItemShape>
<m:ParentFolderIds><t:DistinguishedFolderId Id="inbox"/></m:ParentFolderIds></m:FindItem></s:Body></s:Envelope>""".encode()
OPEN_POLICY = '[policy]\nenabled = false\n'
LOGON = """[gateway.certificates]
logon = "{logon}"
ca_file = "{folder}/ca.pem"
crl_file = "{folder}/users.crl"
user_domains = ["example.com"]
[gateway.kerberos]
keytab_file = "{realm}/bellhop.keytab"
principal = "bellhop@EXCHANGE.TEST"
kdcs = ["EXCHANGE.TEST=127.0.0.1:{port}"]
user_names = "principal"
realms = ["example.com=EXCHANGE.TEST"]
timeout_ms = 3000
refusals_kept_seconds = 1
unreachable_seconds = 1
channel_binding = "{binding}"
"""


class Scene:
    def __init__(self, realm, logon="optional", binding="none"):
        self.realm = realm
        self.helper = NegotiateHelper(realm.service_keytab, f"{realm.folder}/replay")
        self.world = GatewayWorld(mailboxes=4, policy=OPEN_POLICY, endpoint='logon = "kerberos"',
                                  exchange_options=("--offers", "negotiate,ntlm", "--requests", "5000", "--negotiate-helper",
                                                    f"127.0.0.1:{self.helper.port}"))
        self.folder = self.world.folder
        config = LOGON.format(logon=logon, folder=self.folder, realm=realm.folder, port=realm.port, binding=binding)
        self.world.server_config = self.world.server_config.replace("[[gateway.route]]", config + "[[gateway.route]]", 1)

    def __enter__(self):
        self.world.start_standins()
        self.revoke([])
        self.world.start_server(token=False)
        server = ssl.PEM_cert_to_DER_cert(open(f"{self.folder}/standin.pem").read())
        self.server_hash = hashlib.sha256(server).digest()
        return self

    def __exit__(self, *why):
        self.helper.close()
        self.world.__exit__(*why)

    def certificate(self, address):
        """Paths of a user's certificate and key, PEM."""
        path = f"{self.folder}/{address}"
        if not os.path.exists(f"{path}.pem"):
            self.world.run("stand-in", "certificate", "--folder", self.folder, "--address", address, "--password", "p", "--out", f"{path}.p12")
            for what, name in (("-nokeys", "pem"), ("-nocerts", "key")):
                subprocess.run(["openssl", "pkcs12", "-in", f"{path}.p12", "-passin", "pass:p", "-nodes", what, "-out", f"{path}.{name}"],
                               check=True, capture_output=True)
        return f"{path}.pem", f"{path}.key"

    def revoke(self, addresses, days=30, seconds=None):
        """A new list, beside and renamed."""
        base = f"{self.folder}/crl"
        os.makedirs(base, exist_ok=True)
        with open(f"{base}/index.txt", "w") as out:
            for address in addresses:
                text = subprocess.run(["openssl", "x509", "-in", self.certificate(address)[0], "-noout", "-serial"], check=True,
                                      capture_output=True, text=True).stdout
                out.write(f"R\t351231235959Z\t250101000000Z,keyCompromise\t{text.strip().split('=')[1]}\tunknown\t/CN=user\n")
        with open(f"{base}/crl.conf", "w") as out:
            out.write(f"[ca]\ndefault_ca = one\n[one]\ndatabase = {base}/index.txt\ndefault_md = sha256\n")
        until = ["-crlsec", str(seconds)] if seconds else ["-crldays", str(days)]
        subprocess.run(["openssl", "ca", "-gencrl", "-config", f"{base}/crl.conf", "-cert", f"{self.folder}/ca.pem", "-keyfile",
                        f"{self.folder}/ca-key.pem", "-out", f"{base}/users.crl", *until], check=True, capture_output=True)
        os.rename(f"{base}/users.crl", f"{self.folder}/users.crl")

    def connect(self, address=None):
        tls = ssl.create_default_context(cafile=f"{self.folder}/ca.pem")
        if address:
            tls.load_cert_chain(*self.certificate(address))
        return http.client.HTTPSConnection("localhost", self.world.gateway_port, context=tls, timeout=60)

    def find(self, connection, headers=None):
        """(status, headers, body) of a FindItem."""
        connection.request("POST", "/EWS/Exchange.asmx", body=FIND, headers={"content-type": "text/xml; charset=utf-8", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode(errors="replace")

    def once(self, address=None, headers=None):
        connection = self.connect(address)
        try:
            return self.find(connection, headers)
        finally:
            connection.close()

    def outcomes(self):
        """Requests at the gateway by how they ended."""
        return {re.search(r'outcome="([^"]+)"', name).group(1): int(value) for name, value in self.world.metrics().items()
                if name.startswith("bellhop_gateway_requests") and 'outcome="' in name and value}

    def reached(self):
        return self.world.exchange("GET", "/requests?limit=5000")["requests"]

    def reload(self):
        self.world.administer("POST", "/v1/reload")


def deliver(scene, number, subject):
    scene.world.exchange("POST", "/deliver", {"address": f"user{number}@example.com", "subject": subject, "senderName": "Bob",
                                              "senderAddress": "bob@example.com"})


def reads(scene, requests):
    for number in (1, 2):
        deliver(scene, number, f"For user {number} alone")
    connections = {number: scene.connect(f"user{number}@example.com") for number in (1, 2)}
    begin = time.monotonic()
    for turn in range(requests):
        number = turn % 2 + 1
        status, headers, body = scene.find(connections[number])
        assert status == 200, (status, body[:300])
        assert f"For user {number} alone" in body and f"user {3 - number} alone" not in body, body[:2000]
        assert "www-authenticate" not in headers, headers.as_string()
    print(f"certificate in, Negotiate out: {requests} mailboxes read in {time.monotonic() - begin:.2f} s, a token each")
    assert len(set(scene.helper.tokens)) == len(scene.helper.tokens) == requests and scene.helper.refused == 0
    for one in scene.reached():
        assert one["scheme"] == "negotiate" and one["mailbox"].split("@")[0] == one["user"].split("@")[0], one
    books = scene.world.exchange("GET", "/books")
    assert books["negotiated"] == requests and books["unauthorized"] == 0, books
    status, headers = options(scene, "user1@example.com")
    assert status == 200, (status, headers.as_string())
    assert scene.world.exchange("GET", "/books")["negotiated"] == requests + 1
    for connection in connections.values():
        connection.close()


def options(scene, address):
    connection = scene.connect(address)
    connection.request("OPTIONS", "/Microsoft-Server-ActiveSync")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers


def refused(scene):
    before = len(scene.reached())
    basic = "Basic " + base64.b64encode(f"user1@example.com:{scene.world.password}".encode()).decode()
    for what, wanted, address, headers in (
            ("no certificate", 403, None, {}),
            ("no certificate, and a password", 403, None, {"authorization": basic}),
            ("a certificate and a password", 400, "user1@example.com", {"authorization": basic}),
            ("a user whom the KDC does not know", 403, "nobody@example.com", {}),
            ("a user whom the KDC refuses", 403, "locked@example.com", {}),
            ("a user of a domain that is not listed", 403, "user1@example.org", {}),
            ("a user who must not be delegated", 502, "sensitive@example.com", {})):
        status, given, body = scene.once(address, headers)
        assert status == wanted, (what, status, body[:300])
        assert "www-authenticate" not in given, (what, given.as_string())
    assert len(scene.reached()) == before, "a refused request reached Exchange"
    outcomes = scene.outcomes()
    assert outcomes["refused.certificate"] == 5 and outcomes["refused.identity"] == 1 and outcomes["unavailable.logon"] == 1, outcomes
    print("refused, each with its status, and none of it reached Exchange:", {k: v for k, v in outcomes.items() if not k.startswith("passed")})
    stranger = f"{scene.folder}/stranger"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=user1",
                    "-addext", "extendedKeyUsage=clientAuth", "-addext", "subjectAltName=otherName:1.3.6.1.4.1.311.20.2.3;UTF8:user1@example.com",
                    "-keyout", f"{stranger}@x.key", "-out", f"{stranger}@x.pem"], check=True, capture_output=True)
    assert turned_away(scene, "stranger@x"), "a certificate of a stranger's was let in"


def names_authorities(scene):
    """Clients with several certificates are told which authorities count."""
    shown = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{scene.world.gateway_port}", "-servername", "localhost", "-CAfile",
                            f"{scene.folder}/ca.pem"], input="", capture_output=True, text=True, timeout=30).stdout
    subject = subprocess.run(["openssl", "x509", "-in", f"{scene.folder}/ca.pem", "-noout", "-subject", "-nameopt", "compat"], check=True,
                             capture_output=True, text=True).stdout.strip().split("CN=")[-1].strip(" =")
    assert "Acceptable client certificate CA names" in shown and subject in shown.split("CA names")[1], shown


def turned_away(scene, address):
    """The TLS handshake ends with an alert."""
    try:
        scene.once(address)
    except (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected):
        return True
    return False


def does_not_take(scene):
    """An Exchange that refuses the ticket: its 401 is not the client's, and no ticket is shown twice."""
    scene.helper.refuse = True
    seen = len(scene.helper.tokens)
    status, headers, _ = scene.once("user1@example.com")
    assert status == 502 and "www-authenticate" not in headers, (status, headers.as_string())
    assert len(scene.helper.tokens) == seen + 2 and len(set(scene.helper.tokens)) == len(scene.helper.tokens)  # it tried a new one
    scene.helper.refuse = False
    assert scene.once("user1@example.com")[0] == 200


def revoked(scene):
    open_one = scene.connect("user3@example.com")
    assert scene.find(open_one)[0] == 200
    scene.revoke(["user3@example.com"])
    scene.reload()
    status, _, _ = scene.find(open_one)  # the connection is older than the list
    assert status == 403, status
    open_one.close()
    assert turned_away(scene, "user3@example.com"), "a revoked certificate was let in"
    assert scene.once("user1@example.com")[0] == 200
    scene.revoke([], seconds=1)
    scene.reload()
    time.sleep(2.1)  # the list's own date is what is waited for
    status, headers, _ = scene.once("user1@example.com")
    assert status == 503 and int(headers["retry-after"]) > 0, (status, headers.as_string())
    scene.revoke([])
    scene.reload()
    assert scene.once("user1@example.com")[0] == 200
    print("revoked: a new connection is turned away, an old one answered 403; with a list that is too old 503")


def checked(scene, wanted, *what):
    """`bellhop check --online` as a user ends so, and says each of these."""
    done = scene.world.run("check", scene.world.config, "--online", "--as", "user1@example.com", check=False)
    assert done.returncode == wanted and all(one in done.stdout for one in what), (done.returncode, done.stdout, done.stderr)


def kerberos_state(scene):
    return scene.world.administer("GET", "/v1/gateway")["kerberos"]


def sync(scene, address, device):
    """The status of a FolderSync of a device."""
    connection = scene.connect(address)
    connection.request("POST", f"/Microsoft-Server-ActiveSync?Cmd=FolderSync&User={address}&DeviceId={device}&DeviceType=Phone",
                       body=bytes.fromhex("03016a00000756520330000101"),
                       headers={"content-type": "application/vnd.ms-sync.wbxml", "ms-asprotocolversion": "14.1"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def blocked(scene):
    """A block takes the tickets of the device's user away, without another request."""
    assert sync(scene, "user1@example.com", "PhoneOne") != 403 and sync(scene, "user2@example.com", "PhoneTwo") != 403
    before = kerberos_state(scene)["usersKept"]
    begin = time.monotonic()
    scene.world.administer("POST", "/v1/devices/PhoneOne/block?tenant=demo")
    wait_until("the tickets are forgotten", lambda: kerberos_state(scene)["usersKept"] == before - 1, 2)
    print(f"a block: the user's tickets are gone after {(time.monotonic() - begin) * 1000:.0f} ms, those of {before - 1} others stay")
    assert sync(scene, "user1@example.com", "PhoneOne") == 403
    scene.world.administer("POST", "/v1/devices/PhoneOne/unblock?tenant=demo")
    assert sync(scene, "user1@example.com", "PhoneOne") != 403


def told(scene):
    """The state, the command and the metrics say what the requests before have done."""
    state = kerberos_state(scene)
    (service,) = state["services"]
    assert service["service"] == "HTTP/localhost" and service["tokens"] == state["tokens"] > 0 and service["failures"] == state["failures"] > 0
    assert "lastToken" in service and "KDC_ERR_BADOPTION" in service["lastError"], service
    assert state["troubles"] == [] and 0 < state["tokensWithoutAsking"] < state["tokens"], state
    shown = scene.world.run("gateway", "show", "--socket", scene.world.socket).stdout
    assert "HTTP/localhost" in shown and f"{state['tokens']} tokens" in shown, shown
    metrics = scene.world.metrics()
    results = {re.search(r'result="([^"]+)"', name).group(1): int(value) for name, value in metrics.items()
               if name.startswith("bellhop_kerberos_requests_total") and value}
    good = results["kept"] + results["asked"]
    assert good == state["tokens"] and results["user_unknown"] == results["user_refused"] == results["delegation_refused"] == 1, results
    assert sum(results.values()) - good == state["failures"], (results, state)
    assert int(metrics["bellhop_kerberos_asking_seconds_count"]) >= results["asked"]
    print("told:", {key: value for key, value in state.items() if key not in ("services", "troubles")}, results)


def checks_online(scene):
    checked(scene, 0, "EWS at localhost", "ActiveSync at localhost", "offers Bearer Negotiate", "takes the ticket for HTTP/localhost (answers ")
    scene.helper.refuse = True
    checked(scene, 1, "FAIL", "does not take the ticket for HTTP/localhost (401)")
    scene.helper.refuse = False
    scene.realm.stop()
    checked(scene, 1, "FAIL", "logging on as bellhop@EXCHANGE.TEST", "no KDC of the realm answers")
    scene.realm.start()
    checks_one_that_closes(scene)
    print("bellhop check --online: fine, a ticket that Exchange does not take, a dead KDC")


class ClosesEachTime(http.server.BaseHTTPRequestHandler):
    """An Exchange that ends the connection with each answer (HTTP/1.0)."""
    asked = []

    def answer(self):
        scheme = self.headers.get("authorization", "none").split(" ")[0]
        self.asked.append((self.command, scheme))
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200 if scheme == "Negotiate" else 401)
        if scheme != "Negotiate":
            self.send_header("www-authenticate", "Negotiate")
        self.send_header("content-length", "0")
        self.end_headers()

    do_POST = do_OPTIONS = answer

    def log_message(self, *_):
        pass


def checks_one_that_closes(scene):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ClosesEachTime)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(f"{scene.folder}/standin.pem", f"{scene.folder}/standin-key.pem")
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    path = f"{scene.folder}/closing.toml"
    with open(scene.world.config) as written, open(path, "w") as out:
        out.write(written.read().replace(f"https://localhost:{scene.world.ews_port}", f"https://localhost:{server.server_port}"))
    done = scene.world.run("check", path, "--online", "--as", "user1@example.com", check=False)
    server.shutdown()
    server.server_close()
    assert done.returncode == 0 and done.stdout.count("takes the ticket for HTTP/localhost (answers 200)") == 2, (done.stdout, done.stderr)
    assert ClosesEachTime.asked == [("POST", "none"), ("POST", "Negotiate"), ("OPTIONS", "none"), ("OPTIONS", "Negotiate")], ClosesEachTime.asked


def kdc_away(scene):
    realm = scene.realm
    assert scene.once("user1@example.com")[0] == 200
    before = len(scene.reached())
    realm.stop()
    assert scene.once("user1@example.com")[0] == 200, "whose ticket is kept needs no KDC"
    begin = time.monotonic()
    status, headers, body = scene.once("user4@example.com")
    assert status == 503 and int(headers["retry-after"]) > 0 and "www-authenticate" not in headers, (status, headers.as_string(), body)
    took = time.monotonic() - begin
    assert took < 5, took
    assert len(scene.reached()) == before + 1
    (trouble,) = kerberos_state(scene)["troubles"]
    assert trouble["realm"] == "EXCHANGE.TEST" and "no KDC" in trouble["error"], trouble
    wait_until("the trouble is a metric", lambda: int(scene.world.metrics()["bellhop_kerberos_realms_in_trouble"]) == 1, 5)
    assert f"nobody gets a ticket since {trouble['since']}" in scene.world.run("gateway", "show", "--socket", scene.world.socket).stdout
    realm.start()
    wait_until("the KDC is asked again", lambda: scene.once("user4@example.com")[0] == 200, 20)
    assert kerberos_state(scene)["troubles"] == []
    print(f"a dead KDC: 503 after {took * 1000:.0f} ms, users with tickets come in; back, and so is everybody")


def set_up_wrong(scene):
    """The administrator takes the right to delegate away: 502, not 403 or 503."""
    scene.realm.admin("modify", "--constrained-delegation=HTTP/elsewhere@EXCHANGE.TEST", scene.realm.account)
    scene.world.server.send_signal(1)  # SIGHUP: nothing of Kerberos changed, so tickets stay
    status, _, _ = scene.once("user5@example.com")
    assert status == 502, status
    scene.realm.admin("modify", f"--constrained-delegation={scene.realm.service}@EXCHANGE.TEST", scene.realm.account)
    wait_until("the refusal is forgotten", lambda: scene.once("user4@example.com")[0] == 200, 20)


def main():
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    if not kdc.prefix():
        print("skipped: there is no KDC; run tools/bootstrap-kdc")
        return SKIP
    folder = tempfile.mkdtemp(prefix="bellhop-kcd-")
    users = (*(f"user{number}" for number in range(1, 6)), "locked", "sensitive")
    try:
        with kdc.Kdc(f"{folder}/realm", users=users) as realm:
            realm.admin("modify", "--attributes=+disallow-all-tix", "locked")
            realm.admin("modify", "--attributes=+disallow-forwardable", "sensitive")
            with Scene(realm) as scene:
                reads(scene, requests)
                names_authorities(scene)
                refused(scene)
                told(scene)
                blocked(scene)
                does_not_take(scene)
                checks_online(scene)
                revoked(scene)
                kdc_away(scene)
                set_up_wrong(scene)
            with Scene(realm, logon="required", binding="endpoint") as scene:
                scene.helper.endpoint_hash = scene.server_hash
                assert scene.once("user1@example.com")[0] == 200
                assert turned_away(scene, None), "a client without a certificate was let in"
                scene.helper.endpoint_hash = hashlib.sha256(b"another certificate").digest()
                assert scene.once("user1@example.com")[0] == 502, "a ticket for another server's certificate was taken"
                print("the ticket is bound to Exchange's certificate")
        with kdc.Kdc(f"{folder}/short", users=users, ticket_life="4 seconds") as realm, Scene(realm) as scene:
            connection = scene.connect("user1@example.com")
            end, count = time.monotonic() + 10, 0
            while time.monotonic() < end:
                status, _, body = scene.find(connection)
                assert status == 200, (status, body)
                count += 1
                time.sleep(0.1)  # the pace of the requests
            assert scene.helper.refused == 0
            print(f"tickets that live for 4 s: {count} requests in 10 s, all read")
    finally:
        if not os.environ.get("BELLHOP_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)
    print("logon by certificate and Kerberos: as it should be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
