#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the gateway costs, and that nobody harms others there:

  bodies      a large body each way: the memory of the server grows by no more than 1 MB
  pings       hanging Pings, each with TLS on both sides: memory of each
  harm        slow clients and a slow Exchange beside an ordinary client: its latency, and the memory of the server
  throughput  1 KB EWS requests over keep-alive against HAProxy as a plain TLS reverse proxy on the same CPU

    tests/e2e/gateway_scale_test.py                                     the first three, small; half a minute
    tests/e2e/gateway_scale_test.py --body-mib 50 --pings 5000
    tests/e2e/gateway_scale_test.py throughput --requests 200000        by name alone: it wants a machine with nothing else to do
    tests/e2e/gateway_scale_test.py pings --pings 5000                  one of them

Proxies are pinned to the first CPU, everything else to the second, where there are two. Figures of other builds than release
are printed and not judged.
"""
import argparse
import base64
import hashlib
import http.client
import os
import re
import resource
import select
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time

import peers
from activesync import Element, encode
from gateway_world import GatewayWorld, cpu_seconds, memory_of, reset_peak
from processes import BIN, SKIP, free_ports, wait_until

PASSWORD = "correct horse"
MIB = 1 << 20
BODY_GROWTH_MAX = 1 * MIB
PING_BYTES_MAX = 40 * 1024
RATIO_MIN = 0.8
JUDGED = "release" in os.path.realpath(BIN) and os.environ.get("BELLHOP_SANITIZED") != "1"
POLICY = """[policy]
enabled = true
unknown_devices = "allow"
[[policy.rule]]
name = "compromised"
compromised = "yes"
on_unknown = "allow"
[[policy.rule]]
name = "strangers"
mail_clients = ["curl*"]
"""


def judge(good, text):
    """Fails where a figure of a release build is out of its bounds."""
    print(f"{'ok  ' if good else 'OUT '} {text}")
    if JUDGED:
        assert good, text


def basic(number, domain="example.com"):
    return "Basic " + base64.b64encode(f"user{number}@{domain}:{PASSWORD}".encode()).decode()


def soap(content):
    return ('<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
            'xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" '
            'xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><s:Header>'
            '<t:RequestServerVersion Version="Exchange2016"/></s:Header><s:Body>' + content + "</s:Body></s:Envelope>").encode()


GET_FOLDER = soap('<m:GetFolder><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape></m:FolderShape><m:FolderIds>'
                  '<t:DistinguishedFolderId Id="inbox"/></m:FolderIds></m:GetFolder>')


def get_attachment(size):
    return soap(f'<m:GetAttachment><m:AttachmentShape/><m:AttachmentIds><t:AttachmentId Id="size:{size}"/></m:AttachmentIds></m:GetAttachment>')


class Http:
    """An ordinary client over one connection."""

    def __init__(self, world, port=None, timeout=120):
        self.tls = ssl.create_default_context(cafile=f"{world.folder}/ca.pem")
        self.connection = http.client.HTTPSConnection("localhost", port or world.gateway_port, context=self.tls, timeout=timeout)

    def ews(self, body, number=1, host=None):
        self.connection.putrequest("POST", "/EWS/Exchange.asmx", skip_host=host is not None)
        if host:
            self.connection.putheader("Host", host)
        self.connection.putheader("Authorization", basic(number))
        self.connection.putheader("User-Agent", "scale-test")
        self.connection.putheader("Content-Type", "text/xml; charset=utf-8")
        self.connection.putheader("Content-Length", str(len(body)))
        self.connection.endheaders(body)
        return self.connection.getresponse()

    def activesync(self, command, body, number=1, device="SCALE", version="12.1", more="", kind="message/rfc822"):
        self.connection.request("POST", f"/Microsoft-Server-ActiveSync?Cmd={command}&User=user{number}@example.com&DeviceId={device}"
                                f"&DeviceType=iPhone{more}", body,
                                {"Authorization": basic(number), "User-Agent": "scale-test", "Content-Type": kind, "MS-ASProtocolVersion": version})
        return self.connection.getresponse()


def pattern(size):
    period = bytes(range(251))
    return (period * (size // 251 + 1))[:size]


def drain(answer):
    """Size and SHA-256 of a body."""
    digest, size = hashlib.sha256(), 0
    while piece := answer.read(1 << 16):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def last_request(world):
    return world.exchange("GET", "/requests?limit=5000")["requests"][-1]


def bodies(options):
    size = options.body_mib * MIB
    content = pattern(size)
    envelope = soap('<m:CreateAttachment><m:ParentItemId Id="A"/><m:Attachments><t:FileAttachment><t:Name>a</t:Name><t:Content>@'
                    '</t:Content></t:FileAttachment></m:Attachments></m:CreateAttachment>')
    upload = envelope.replace(b"@", base64.b64encode(content[:size // 4 * 3 - 600]))
    with GatewayWorld(mailboxes=4, password=PASSWORD, roles=("gateway",), policy=POLICY, exchange_options=("--requests", "200")) as world:
        world.start_standins()
        server = world.start_server(token=False)

        def both_ways(upload_body, mail, size_down):
            answer = Http(world).ews(upload_body)
            body = answer.read()
            assert answer.status == 200 and b"NoError" in body, (answer.status, body[:300])
            seen = last_request(world)
            assert seen["bodySha256"] == hashlib.sha256(upload_body).hexdigest() and seen["operation"] == "CreateAttachment", seen
            answer = Http(world).activesync("SendMail", mail)
            assert (answer.status, answer.read()) == (200, b"")
            assert last_request(world)["bodySha256"] == hashlib.sha256(mail).hexdigest()
            got = Http(world).activesync("GetAttachment", b"", more=f"&AttachmentName=size:{size_down}")
            assert got.status == 200, got.status
            assert drain(got) == (size_down, hashlib.sha256(pattern(size_down)).hexdigest())
            answer = Http(world).ews(get_attachment(size_down))
            assert answer.status == 200
            assert drain(answer)[0] > size_down // 3 * 4

        # What is kept for later is made now; the ring's receive buffers are first used one after the other, all of them within 8 MiB.
        for warm in (100_000, 8 * MIB):
            both_ways(envelope, pattern(warm), warm)
        before = memory_of(server.pid)
        reset_peak(server.pid)
        begun = time.monotonic()
        both_ways(upload, content, size)
        seconds = time.monotonic() - begun
        grown = memory_of(server.pid, "VmHWM") - before
        judge(grown <= BODY_GROWTH_MAX, f"bodies of {options.body_mib} MiB, two each way in {seconds:.1f} s: memory {before / MIB:.1f} MiB, "
              f"grew by {grown / 1024:.0f} KiB at most")


FOLDER_SYNC = encode(Element("FolderHierarchy:FolderSync", Element("FolderHierarchy:SyncKey", "0")))
PING = encode(Element("Ping:Ping", Element("Ping:HeartbeatInterval", "3540"), Element("Ping:Folders", Element(
    "Ping:Folder", Element("Ping:Id", "1"), Element("Ping:Class", "Email")))))


def activesync_request(command, number, device, body):
    return (f"POST /Microsoft-Server-ActiveSync?Cmd={command}&User=user{number}@example.com&DeviceId=DEVICE{device}&DeviceType=iPhone HTTP/1.1\r\n"
            f"host: localhost\r\nauthorization: {basic(number)}\r\ncontent-type: application/vnd.ms-sync.wbxml\r\nms-asprotocolversion: 14.1\r\n"
            f"user-agent: Apple-iPhone8C4/1504.100\r\ncontent-length: {len(body)}\r\n\r\n").encode() + body


def read_answer(session):
    """Status and body of an answer with a length."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = session.recv(4096)
        assert piece, f"the connection ended after {data!r}"
        data += piece
    head, body = data.split(b"\r\n\r\n", 1)
    length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
    while len(body) < length:
        piece = session.recv(4096)
        assert piece, "the connection ended in a body"
        body += piece
    return int(head.split()[1]), body


def pings(options):
    count = options.pings
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit < 2 * count + 500:
        print(f"skipped: {count} Pings need {2 * count + 500} open files, and only {limit} are allowed")
        return SKIP
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    per_mailbox = 10
    mailboxes = (count + per_mailbox - 1) // per_mailbox
    with GatewayWorld(mailboxes=mailboxes, password=PASSWORD, roles=("gateway",), policy=POLICY, endpoint="connections_max = 20000") as world:
        world.start_standins()
        server = world.start_server(token=False)
        tls = ssl.create_default_context(cafile=f"{world.folder}/ca.pem")

        def open_ping(index):
            number = index // per_mailbox + 1
            session = tls.wrap_socket(socket.create_connection(("127.0.0.1", world.gateway_port), timeout=60), server_hostname="localhost")
            session.sendall(activesync_request("FolderSync", number, index, FOLDER_SYNC))
            status, body = read_answer(session)
            assert status == 200, (status, body)
            session.sendall(activesync_request("Ping", number, index, PING))
            return session

        first = min(count // 5, 200)
        sessions = [open_ping(index) for index in range(first)]
        wait_until("the first Pings hang", lambda: world.exchange("GET", "/books")["activesyncWaiting"] == first)
        before = memory_of(server.pid)
        begun = time.monotonic()
        sessions += [open_ping(index) for index in range(first, count)]
        wait_until("all Pings hang", lambda: world.exchange("GET", "/books")["activesyncWaiting"] == count)
        seconds = time.monotonic() - begun
        each = (memory_of(server.pid) - before) / (count - first)
        cpu = cpu_seconds(server.pid)
        time.sleep(options.rest_seconds)  # what is measured is how little happens meanwhile
        idle = (cpu_seconds(server.pid) - cpu) / options.rest_seconds
        judge(each <= PING_BYTES_MAX, f"{count} hanging Pings, opened in {seconds:.1f} s: {each / 1024:.1f} KiB each, {idle:.1%} of a CPU while they hang")
        world.exchange("POST", "/deliver", {"count": mailboxes})  # one for each mailbox
        begun = time.monotonic()
        for session in sessions:
            status, body = read_answer(session)
            assert status == 200 and b"\x03" + b"2\x00" in body, (status, body)
        print(f"     all {count} were told of a mail within {time.monotonic() - begun:.1f} s")
        for session in sessions:
            session.close()


class Trickle:
    """An Exchange that takes a request and then sends one byte of its answer every half second."""

    def __init__(self, world):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{world.folder}/standin.pem", f"{world.folder}/standin-key.pem")
        self.listener = socket.create_server(("127.0.0.1", world.trickle_port), backlog=256)
        self.context = context
        self.open = 0
        self.sessions = []
        threading.Thread(target=self.accept, daemon=True).start()
        threading.Thread(target=self.drip, daemon=True).start()

    def accept(self):
        while True:
            try:
                session = self.context.wrap_socket(self.listener.accept()[0], server_side=True)
                while b"GetFolder>" not in session.recv(65536):
                    pass
                session.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: 1000000\r\n\r\n")
                self.sessions.append(session)
            except OSError:
                if self.listener.fileno() < 0:
                    return

    def drip(self):
        while self.listener.fileno() >= 0:
            for session in list(self.sessions):
                try:
                    session.send(b"<")
                except OSError:
                    self.sessions.remove(session)
            time.sleep(0.5)

    def close(self):
        self.listener.close()


def latencies(world, seconds):
    client = Http(world)
    taken = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        answer = client.ews(GET_FOLDER, number=2)
        body = answer.read()
        taken.append((time.monotonic() - begun) * 1000)
        assert answer.status == 200 and b"NoError" in body, (answer.status, body[:200])
    return statistics.quantiles(taken, n=100)[98], len(taken)


def harm(options):
    count, size = options.slow, 8 * MIB
    (trickle_port,) = free_ports(1)
    with GatewayWorld(mailboxes=3, password=PASSWORD, roles=("gateway",), policy=POLICY, routes=f"""
[[gateway.route]]
hosts = ["slow.example.com"]
default_domain = "example.com"
[gateway.route.ews]
upstream = "https://localhost:{trickle_port}"
ca_file = "@CA@"
""") as world:
        world.server_config = world.server_config.replace("@CA@", f"{world.folder}/ca.pem")
        world.trickle_port = trickle_port
        world.start_standins()
        server = world.start_server(token=False)
        slow_exchange = Trickle(world)
        drain(Http(world).ews(get_attachment(size)))  # the receive buffers, see bodies()
        alone, asked_alone = latencies(world, options.harm_seconds)
        before = memory_of(server.pid)
        readers = []
        for index in range(count):  # they take 4 KB a second of 8 MiB
            client = Http(world)
            client.connection.connect()
            client.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            readers.append((client, client.ews(get_attachment(size), number=1)))
        waiters = []
        for index in range(count):
            client = Http(world)
            answer = client.ews(GET_FOLDER, number=1, host="slow.example.com")
            assert answer.status == 200, answer.status
            waiters.append((client, answer))
        stop = threading.Event()

        def read_slowly():
            while not stop.wait(1):
                for client, answer in readers:
                    answer.read(4096)

        reading = threading.Thread(target=read_slowly, daemon=True)
        reading.start()
        beside, asked_beside = latencies(world, options.harm_seconds)
        grown = memory_of(server.pid) - before
        stop.set()
        reading.join(10)
        slow_exchange.close()
        bound = max(4 * alone, 100.0)
        judge(beside <= bound, f"{count} slow clients and {count} requests at a slow Exchange: the 99th percentile of an ordinary client "
              f"{beside:.1f} ms ({asked_beside} requests), alone {alone:.1f} ms ({asked_alone})")
        judge(grown <= 2 * count * 128 * 1024, f"     memory grew by {grown / 1024 / (2 * count):.0f} KiB for each of them")


NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log warn;
events {{ worker_connections 2048; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s; server_tokens off;
  client_body_temp_path {folder}/nginx-body; proxy_temp_path {folder}/nginx-proxy; fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi; scgi_temp_path {folder}/nginx-scgi;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/standin.pem; ssl_certificate_key {folder}/standin-key.pem;
    location / {{ default_type "text/xml; charset=utf-8"; return 200 '{body}'; }}
  }}
}}
"""
HAPROXY = """
global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  http-reuse always
frontend gateway
  bind 127.0.0.1:{front} ssl crt {folder}/haproxy.pem alpn http/1.1
  default_backend exchange
backend exchange
  server exchange 127.0.0.1:{back} ssl verify required ca-file {folder}/ca.pem verifyhost localhost sni str(localhost) maxconn 2000
"""


def load(port, request_file, count, connections, cpus):
    """Requests per second, by h2load over HTTP/1.1."""
    done = subprocess.run([*GatewayWorld.on_cpus(cpus), "h2load", "--h1", "-n", str(count), "-c", str(connections), "-t", "1", "-d", request_file,
                           "-H", f"authorization: {basic(1)}", "-H", "content-type: text/xml; charset=utf-8", "-H", "user-agent: scale-test",
                           f"https://localhost:{port}/EWS/Exchange.asmx"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    good = int(re.search(r"status codes: (\d+) 2xx", done.stdout).group(1))
    assert good == count, f"{good} of {count} were answered 200:\n{done.stdout[-1500:]}"
    return float(re.search(r"finished in [^,]+, ([\d.]+) req/s", done.stdout).group(1))


def throughput(options):
    peers.need("nginx", "haproxy", "h2load")
    cpus = sorted(os.sched_getaffinity(0))
    proxy_cpu, other_cpu = ([cpus[0]], [cpus[1]]) if len(cpus) > 1 else (None, None)
    back, front = free_ports(2)
    with GatewayWorld(mailboxes=1, password=PASSWORD, roles=("gateway",), policy=POLICY, server_cpus=proxy_cpu, other_cpus=other_cpu,
                      listener="requests_per_connection_max = 100000000") as world:
        world.start_standins()  # they make the certificates
        world.server_config = world.server_config.replace(f"https://localhost:{world.ews_port}", f"https://localhost:{back}")
        answer = soap("<m:GetItemResponse><m:ResponseMessages/></m:GetItemResponse>").decode()
        with open(f"{world.folder}/nginx.conf", "w") as file:
            file.write(NGINX.format(folder=world.folder, port=back, body=answer + " " * max(0, 1024 - len(answer))))
        with open(f"{world.folder}/haproxy.cfg", "w") as file:
            file.write(HAPROXY.format(folder=world.folder, front=front, back=back))
        with open(f"{world.folder}/haproxy.pem", "w") as file:
            file.write(open(f"{world.folder}/server.pem").read() + open(f"{world.folder}/server-key.pem").read())
        request = soap('<m:GetItem><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape><m:ItemIds><t:ItemId Id="@"/></m:ItemIds></m:GetItem>')
        with open(f"{world.folder}/request.xml", "wb") as file:
            file.write(request.replace(b"@", b"A" * (1025 - len(request))))

        def start(name, cpu, *command):
            log = open(f"{world.folder}/{name}.log", "ab")
            process = subprocess.Popen([*world.on_cpus(cpu), *command], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=peers.environment())
            world.processes.append(process)
            return process

        start("nginx", other_cpu, "nginx", "-p", world.folder, "-c", f"{world.folder}/nginx.conf")
        haproxy = start("haproxy", proxy_cpu, "haproxy", "-f", f"{world.folder}/haproxy.cfg")
        server = world.start_server(token=False)
        for port in (back, front, world.gateway_port):
            wait_until(f"port {port} answers", lambda port=port: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        results = {"haproxy": [], "bellhop": []}
        for round_ in range(options.rounds + 1):
            for name, port, pid in (("haproxy", front, haproxy.pid), ("bellhop", world.gateway_port, server.pid)):
                count = options.requests if round_ else max(1_000, options.requests // 10)  # the first round warms up
                cpu = cpu_seconds(pid)
                rate = load(port, f"{world.folder}/request.xml", count, options.connections, other_cpu)
                cpu = cpu_seconds(pid) - cpu
                if round_:
                    results[name].append((rate, count / cpu, cpu * rate / count))
        for name, rounds in results.items():
            print(f"     {name}: " + "; ".join(f"{rate:.0f}/s, {per_cpu:.0f} per CPU second, {busy:.0%} busy" for rate, per_cpu, busy in rounds))
        rate = statistics.median(one[0] for one in results["bellhop"]) / statistics.median(one[0] for one in results["haproxy"])
        ratio = statistics.median(one[1] for one in results["bellhop"]) / statistics.median(one[1] for one in results["haproxy"])
        judge(ratio >= RATIO_MIN, f"1 KB requests, {options.connections} connections: {ratio:.2f} of HAProxy's requests per CPU second, "
              f"{rate:.2f} of its requests per second")


ALWAYS = ("bodies", "pings", "harm")
PARTS = {"bodies": bodies, "pings": pings, "harm": harm, "throughput": throughput}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--body-mib", type=int, default=8)
    parser.add_argument("--pings", type=int, default=1_000)
    parser.add_argument("--rest-seconds", type=float, default=3, help="how long Pings hang while the CPU time is measured")
    parser.add_argument("--slow", type=int, default=20, help="slow clients, and requests at a slow Exchange")
    parser.add_argument("--harm-seconds", type=float, default=3)
    parser.add_argument("--requests", type=int, default=30_000, help="of a round at each proxy")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}")
    skipped = [PARTS[name](options) for name in options.parts or ALWAYS]
    return SKIP if skipped == [SKIP] else 0


if __name__ == "__main__":
    sys.exit(main())
