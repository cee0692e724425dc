#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The gateway alone (roles = ["gateway"]) in front of an Exchange that is written here and says what reached it.

What passes and in which form; blocks, also of what waits; clients that leave; answers that are cut; redirects; large
bodies; reloads; the end under load."""
import base64
import hashlib
import http.client
import json
import os
import signal
import socket
import ssl
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import World, free_ports, wait_until  # noqa: E402

ACTIVESYNC = "/Microsoft-Server-ActiveSync"
SOAP = ('<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages"><s:Body><m:{0}>{1}</m:{0}></s:Body></s:Envelope>')
PING = b"\x03\x01\x6a\x00\x00\x0d\x45\x01"
SYNC = b"\x03\x01\x6a\x00\x45\x01"


def soap(operation, content=""):
    return SOAP.format(operation, content).encode()


def basic(user, password="secret"):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Exchange:
    """One TLS listener; each connection has a thread. `answer(request)` gives (status, fields, body) or None: wait until
    `release` is set."""

    def __init__(self, folder):
        self.requests, self.lock = [], threading.Lock()
        self.gone = 0  # clients that left while they were to wait
        self.release = threading.Event()
        self.answer = lambda request: (200, {}, b"fine")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{folder}/server.pem", f"{folder}/server-key.pem")
        self.listener = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True, do_handshake_on_connect=False)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, address = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection, address[1]), daemon=True).start()

    def serve(self, connection, port):
        try:
            connection.do_handshake()
            stream = connection.makefile("rb")
            while True:
                line = stream.readline()
                if not line:
                    return
                method, target, _ = line.decode().split()
                fields = http.client.parse_headers(stream)
                digest, size, body = hashlib.sha256(), 0, b""
                for piece in self.body(stream, fields):
                    digest.update(piece)
                    size += len(piece)
                    body = body + piece if len(body) < 65536 else body
                request = {"method": method, "target": target, "fields": fields, "size": size, "digest": digest.hexdigest(),
                           "body": body, "connection": port}
                with self.lock:
                    self.requests.append(request)
                if not self.reply(connection, request):
                    return
        except (OSError, ValueError):
            return
        finally:
            connection.close()

    @staticmethod
    def body(stream, fields):
        if fields.get("transfer-encoding", "").lower() == "chunked":
            while size := int(stream.readline().split(b";")[0], 16):
                yield stream.read(size)
                stream.readline()
            stream.readline()
            return
        left = int(fields.get("content-length", 0))
        while left > 0:
            piece = stream.read(min(left, 65536))
            left -= len(piece)
            yield piece

    def reply(self, connection, request):
        answer = self.answer(request)
        if answer is None:
            connection.settimeout(0.05)
            while not self.release.is_set():
                try:
                    if connection.recv(1) == b"":
                        self.gone += 1
                        return False
                except TimeoutError:
                    pass
            connection.settimeout(None)
            answer = (200, {}, b"released")
        status, fields, body = answer
        head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        if callable(body):  # writes what follows the head by itself; true: the connection goes on
            connection.sendall(head.encode())
            return bool(body(connection))
        connection.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return True

    def count(self):
        with self.lock:
            return len(self.requests)

    def last(self):
        with self.lock:
            return self.requests[-1]


class GatewayWorld(World):
    """Certificates are those that the stand-in makes; nothing else of it is used."""

    def __init__(self):
        super().__init__(mailboxes=1)
        (self.gateway_port,) = free_ports(1)

    def start(self):
        self.start_standins()
        self.upstream = Exchange(self.folder)
        self.run("keyring", "make", f"{self.folder}/keyring")
        self.write()
        self.server = self.spawn("server", "bellhopd", "--config", self.config)
        wait_until("the gateway is ready", self.ready)

    def write(self, hosts='["localhost", "mail.example.com"]', policy="true"):
        endpoint = f'upstream = "https://localhost:{self.upstream.port}"\nca_file = "{self.folder}/ca.pem"'
        with open(self.config, "w") as file:
            file.write(f"""
roles = ["gateway"]
data_dir = "{self.folder}/data"
keyring_file = "{self.folder}/keyring"
cores = 2
[listen.gateway]
addresses = ["127.0.0.1:{self.gateway_port}"]
certificate_file = "{self.folder}/server.pem"
private_key_file = "{self.folder}/server-key.pem"
connections_per_address_per_second = 0
drain_timeout_ms = 1000
[listen.admin]
address = "127.0.0.1:{self.admin_port}"
unix_socket = "{self.socket}"
[policy]
enabled = {policy}
[[gateway.domain]]
name = "example.com"
netbios = "EXAMPLE"
[[gateway.route]]
hosts = {hosts}
default_domain = "example.com"
[gateway.route.ews]
{endpoint}
[gateway.route.activesync]
{endpoint}
""")

    def connect(self):
        context = ssl.create_default_context(cafile=f"{self.folder}/ca.pem")
        connection = http.client.HTTPSConnection("localhost", self.gateway_port, context=context, timeout=60)
        connection.connect()
        return connection

    def ask(self, method, target, body=b"", connection=None, **fields):
        own = connection or self.connect()
        own.request(method, target, body=body or None, headers={name.replace("_", "-"): value for name, value in fields.items()})
        answer = own.getresponse()
        content = answer.read()
        if not connection:
            own.close()
        return answer.status, dict((name.lower(), value) for name, value in answer.getheaders()), content

    def ews(self, operation, user="anna@example.com", content="", **more):
        return self.ask("POST", "/EWS/Exchange.asmx", soap(operation, content), Content_Type="text/xml; charset=utf-8",
                        Authorization=basic(user), **more)

    def activesync(self, command, body, device="PHONE1", user="anna@example.com", **more):
        target = f"{ACTIVESYNC}?Cmd={command}&User=anna&DeviceId={device}&DeviceType=iPhone"
        return self.ask("POST", target, body, Content_Type="application/vnd.ms-sync.wbxml", MS_ASProtocolVersion="14.1",
                        Authorization=basic(user), **more)

    def over_socket(self, method, target, body=None):
        class Unix(http.client.HTTPConnection):
            def connect(connection):
                connection.sock = socket.socket(socket.AF_UNIX)
                connection.sock.settimeout(30)
                connection.sock.connect(self.socket)
        connection = Unix("localhost")
        connection.request(method, target, body=body, headers={"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status < 300, (method, target, answer.status, text)
        return text

    def know(self, *devices):
        self.over_socket("PATCH", "/v1/compliance", json.dumps([{"deviceId": device, "managed": True} for device in devices]))

    def resident(self):
        """KiB of memory that the server has."""
        with open(f"/proc/{self.server.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

    def outcomes(self):
        return json.loads(self.over_socket("GET", "/v1/outcomes"))["gateway"]


def what_passes(world):
    status, fields, body = world.activesync("Sync", SYNC, X_Original_URL="/owa", Cookie="X-BEResource=evil~1")
    assert (status, body) == (200, b"fine"), (status, body)
    seen = world.upstream.last()
    assert seen["target"].startswith(ACTIVESYNC + "?Cmd=Sync&"), seen["target"]
    assert seen["body"] == SYNC and seen["fields"]["authorization"] == basic("anna@example.com")
    assert seen["fields"]["x-forwarded-for"] == "127.0.0.1"
    assert not {"x-original-url", "cookie"} & {name.lower() for name in seen["fields"]}, seen["fields"].items()
    before = world.upstream.count()
    for target, expected in (("/owa", 404), ("/EWS/../ecp", 400), ("/EWS/Exchange.asmx/", 404), (ACTIVESYNC + "?Cmd=Sync", 400)):
        status, _, _ = world.ask("POST", target, b"x", Authorization=basic("anna"), Content_Type="text/xml")
        assert status == expected, (target, status)
    status, _, body = world.ask("POST", "/EWS/Exchange.asmx", soap("GetItem"), Content_Type="text/xml", Authorization="NTLM TlRMTVNTUAAB")
    assert status == 401 and b"NTLM and Negotiate are not accepted" in body
    assert world.ask("POST", "/EWS/Exchange.asmx", soap("GetItem"), Host="elsewhere.example.org", Authorization=basic("anna"))[0] == 421
    status, _, body = world.ews("ExportItems", user="archive")
    assert status == 403 and b"ErrorAccessDenied" in body
    assert world.upstream.count() == before, "no refused request reached Exchange"


def blocks(world):
    assert world.activesync("Sync", SYNC, device="PHONE2")[0] == 403, "an unknown device stays out"
    world.over_socket("POST", "/v1/devices/PHONE1/block?tenant=default")
    began = time.monotonic()
    wait_until("every core refuses the device", lambda: all(world.activesync("Sync", SYNC)[0] == 403 for _ in range(8)), 5)
    assert time.monotonic() - began < 2, "a block holds within two seconds"
    status, fields, body = world.activesync("Sync", SYNC)
    assert (status, body) == (403, b"") and "www-authenticate" not in fields
    status, _, body = world.ews("GetItem")
    assert status == 403 and b"ErrorAccessDenied" in body, "EWS names no device"
    world.over_socket("POST", "/v1/devices/PHONE1/unblock?tenant=default")
    wait_until("it is let in again", lambda: world.activesync("Sync", SYNC)[0] == 200, 2)


def parked(world, end):
    """A Ping that waits at Exchange is ended by `end`; what the client gets."""
    world.upstream.answer = lambda request: None
    before, gone = world.upstream.count(), world.upstream.gone
    connection = world.connect()
    target = f"{ACTIVESYNC}?Cmd=Ping&User=anna&DeviceId=PHONE1&DeviceType=iPhone"
    connection.request("POST", target, body=PING, headers={"Authorization": basic("anna"), "MS-ASProtocolVersion": "14.1",
                                                           "Content-Type": "application/vnd.ms-sync.wbxml"})
    wait_until("the Ping reached Exchange", lambda: world.upstream.count() == before + 1)
    assert world.metrics()["bellhop_gateway_requests_parked"] == 1
    began = time.monotonic()
    end(connection)
    wait_until("Exchange hears of the end", lambda: world.upstream.gone == gone + 1, 5)
    took = time.monotonic() - began
    wait_until("nothing is parked", lambda: world.metrics()["bellhop_gateway_requests_parked"] == 0)
    world.upstream.answer = lambda request: (200, {}, b"fine")
    return connection, took


def ended_by_a_block(world):
    connection, took = parked(world, lambda _: world.over_socket("POST", "/v1/devices/PHONE1/block?tenant=default"))
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (403, b"") and took < 2, (answer.status, took)
    connection.close()
    world.over_socket("POST", "/v1/devices/PHONE1/unblock?tenant=default")
    assert world.outcomes()["blocked.parked"] == 1


def ended_by_the_client(world):
    before = world.outcomes()["client_left"]
    parked(world, lambda connection: connection.sock.close() or connection.close())
    wait_until("it is counted", lambda: world.outcomes()["client_left"] == before + 1)


def large_bodies(world):
    size = 20 << 20
    content = ("0123456789abcdef" * 65536) * (size >> 20)
    down = os.urandom(1 << 20)

    def pour(connection):
        connection.sendall(f"Content-Length: {size}\r\n\r\n".encode())
        for _ in range(size >> 20):
            connection.sendall(down)
        return True
    world.upstream.answer = lambda request: (200, {}, pour)
    residents = [world.resident()]
    for _ in range(6):
        status, _, body = world.activesync("SendMail", content.encode())
        assert status == 200 and len(body) == size and body == down * (size >> 20)
        assert world.upstream.last()["digest"] == hashlib.sha256(content.encode()).hexdigest()
        residents.append(world.resident())
    print(f"  20 MiB each way, six times: {residents} KiB resident memory")
    steps = [after - before for before, after in zip(residents, residents[1:])]
    # Each core takes the memory of its pools once, at its first large body. What a sanitizer adds is not ours to judge.
    pools = [step for step in steps if step > 1024]
    sanitized = os.environ.get("BELLHOP_SANITIZED") == "1"
    assert sanitized or (len(pools) <= 2 and max(pools, default=0) < 10240), steps
    world.upstream.answer = lambda request: (200, {}, b"fine")


def cut_answers(world):
    for framing in (b"Content-Length: 100\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"):
        world.upstream.answer = lambda request, framing=framing: (200, {}, lambda connection: connection.sendall(framing) and False)
        try:
            status, _, body = world.activesync("Sync", SYNC)
        except http.client.IncompleteRead:
            continue
        raise AssertionError(f"a cut answer looked whole: {status} {body}")
    world.upstream.answer = lambda request: (200, {}, b"fine")


def redirects(world):
    for location in ("https://evil.example.org/Microsoft-Server-ActiveSync", f"http://localhost:{world.upstream.port}{ACTIVESYNC}"):
        world.upstream.answer = lambda request, location=location: (451, {"X-MS-Location": location}, b"")
        status, fields, _ = world.activesync("Sync", SYNC)
        assert status == 502 and not any("location" in name for name in fields), (status, fields)
    world.upstream.answer = lambda request: (200, {}, b"fine")


def reload(world):
    world.upstream.answer = lambda request: None
    before = world.upstream.count()
    results = []
    thread = threading.Thread(target=lambda: results.append(world.activesync("Ping", PING)))
    thread.start()
    wait_until("the Ping reached Exchange", lambda: world.upstream.count() == before + 1)
    world.write(hosts='["localhost", "new.example.com"]')
    world.run("reload", "--socket", world.socket)
    world.upstream.answer = lambda request: (200, {}, b"fine")
    assert world.activesync("Sync", SYNC, Host="new.example.com")[0] == 200
    assert world.activesync("Sync", SYNC, Host="mail.example.com")[0] == 421
    world.upstream.release.set()
    thread.join()
    assert results[0][0] == 200 and results[0][2] == b"released", results
    world.upstream.release.clear()


def explained(world):
    told = json.loads(world.over_socket("GET", "/v1/explain/blocked.policy"))
    assert told["list"] == "gateway" and told["count"] >= 1 and "403" in told["summary"], told
    assert any("Sync at localhost: 403" in step["text"] for step in told["chain"]), told
    text = world.run("explain", "blocked.parked", "--socket", world.socket).stdout
    assert "waited at Exchange" in text, text
    # A client calls itself whatever it likes, in Latin-1 or in what terminals obey.
    for agent, shown in (("Caf\xe9/1", "Caf\ufffd/1"), ("\xc2\x9b31mred", "31mred")):
        assert world.activesync("Sync", SYNC, User_Agent=agent)[0] == 200
        row = world.run("gateway", "device", "PHONE1", "--limit", "1", "--socket", world.socket).stdout.splitlines()[1]
        assert row.endswith(f"  {shown}"), row


def refusals_of_the_configuration(world):
    path = f"{world.folder}/wrong.toml"
    with open(world.config) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace("https://localhost", "http://localhost"))
    done = world.run("check", path, check=False)
    assert done.returncode != 0 and "must begin with" in done.stdout + done.stderr, done


def checks_online(world):
    done = world.run("check", world.config, "--online")
    assert done.stdout.count("ok ") >= 2 and "FAIL" not in done.stdout, done.stdout
    done = world.run("check", world.config, "--online", "--as", "anna@example.com", check=False)
    assert done.returncode == 1 and "FAIL  --as anna@example.com: no endpoint has logon" in done.stdout, done.stdout


def the_end(world):
    world.upstream.answer = lambda request: None
    before = world.upstream.count()
    connection = world.connect()
    target = f"{ACTIVESYNC}?Cmd=Ping&User=anna&DeviceId=PHONE1&DeviceType=iPhone"
    connection.request("POST", target, body=PING, headers={"Authorization": basic("anna"), "MS-ASProtocolVersion": "14.1",
                                                           "Content-Type": "application/vnd.ms-sync.wbxml"})
    wait_until("the Ping reached Exchange", lambda: world.upstream.count() == before + 1)
    began = time.monotonic()
    world.server.send_signal(signal.SIGTERM)
    assert world.server.wait(30) == 0, world.log_of("server")
    took = time.monotonic() - began
    assert took < 10, f"long polls hold up the end for {took} s"


def main():
    with GatewayWorld() as world:
        world.start()
        world.know("PHONE1")
        for step in (what_passes, blocks, ended_by_a_block, ended_by_the_client, large_bodies, cut_answers, redirects, reload, explained, checks_online,
                     refusals_of_the_configuration, the_end):
            step(world)
            print(f"{step.__name__}: fine", flush=True)
        log = world.log_of("server")
        for personal in ("anna", "PHONE1", "secret", basic("anna@example.com")):
            assert personal not in log, f"the log names {personal}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
