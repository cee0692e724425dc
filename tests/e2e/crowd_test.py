#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""5,000 idle and slow connections at one server while mail goes on: every mail still arrives exactly once, newcomers are
served, each kind of slow connection is ended by its own timeout, and the memory comes back.

  crowd_test.py            two rounds of the same crowd; about a minute. One round with BELLHOP_SANITIZED=1
  BELLHOP_CROWD=1000       a smaller crowd (also what a sanitizer build gets: BELLHOP_SANITIZED=1)

Kinds: TLS connections that shake hands and stay silent; TCP connections that say nothing; half of a ClientHello; request
heads and request bodies that come one byte at a time."""
import os
import re
import resource
import select
import socket
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import BIN, SKIP, World, wait_until  # noqa: E402

SANITIZED = os.environ.get("BELLHOP_SANITIZED") == "1"
CROWD = int(os.environ.get("BELLHOP_CROWD", "1000" if SANITIZED else "5000"))
MAILBOXES = 8
MAILS_ALONE, MAILS_BESIDE = (200, 400) if SANITIZED else (1000, 3000)
SHARES = {"idle": 0.40, "silent": 0.18, "half hello": 0.18, "slow head": 0.12, "slow body": 0.12}

# What ends each kind, in seconds. The first three are configured below; a body has a grace of 10 s before its minimum
# rate counts. The tolerances are for a machine that is busy with other things.
HANDSHAKE_S, HEAD_S, IDLE_S, BODY_S = 6.0, 7.0, 20.0, 10.0
ENDS_AFTER_S = {"idle": IDLE_S, "silent": HANDSHAKE_S, "half hello": HANDSHAKE_S, "slow head": HEAD_S, "slow body": BODY_S}
EARLY_S, LATE_S = 0.3, 10.0 if SANITIZED else 5.0

IDLE_CONNECTION_BYTES_MAX = 16 * 1024
SECOND_ROUND_GROWTH_MAX = 0.10
# Live traffic beside the crowd: how much slower its 99th percentile may be, and a floor for machines that were fast before.
SLOWER_MAX, LATENCY_FLOOR_MS = 4.0, 400.0

LISTENER = f"""handshake_timeout_ms = {int(HANDSHAKE_S * 1000)}
header_timeout_ms = {int(HEAD_S * 1000)}
idle_timeout_ms = {int(IDLE_S * 1000)}
"""
LIMITS = """[limits]
subscribe_per_address_per_minute = 100000
getpublickey_per_address_per_minute = 100000
subscribe_handovers_per_hour = 1000
[notification]
callbacks_per_mailbox_per_minute_max = 100000
"""


def resident_bytes(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) * 1024


def connections_open(world):
    return world.metrics()['bellhop_connections{kind="public"}']


class Visitor:
    """One connection of the crowd."""

    def __init__(self, kind, sock, session=None, script=b""):
        self.kind, self.sock, self.session, self.script = kind, sock, session, script
        self.sent = 0
        self.since = time.monotonic()
        self.ended = None
        self.received = b""

    def drip(self):
        if self.ended is not None or self.sent == len(self.script):
            return
        if self.sent == 0 and self.kind == "slow head":
            self.since = time.monotonic()
        try:
            self.session.send(self.script[self.sent:self.sent + 1])
            self.sent += 1
        except (ssl.SSLError, OSError):
            pass  # the end is seen where we read

    def look(self):
        """Takes what came; notes the end."""
        try:
            while True:
                piece = self.session.recv(4096) if self.session else self.sock.recv(4096)
                if not piece:
                    break
                self.received += piece
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        except (ssl.SSLError, OSError):
            pass
        self.ended = time.monotonic()


class Crowd:
    def __init__(self, world, size):
        self.world = world
        self.size = {kind: int(size * share) for kind, share in SHARES.items()}
        self.visitors = []
        self.epoll = select.epoll()
        self.by_descriptor = {}
        self.tls = ssl.create_default_context(cafile=f"{world.folder}/ca.pem")

    def enter(self, visitor):
        visitor.sock.setblocking(False)
        self.visitors.append(visitor)
        self.by_descriptor[visitor.sock.fileno()] = visitor
        self.epoll.register(visitor.sock.fileno(), select.EPOLLIN | select.EPOLLRDHUP)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.world.public_port), timeout=30)

    def shake_hands(self):
        return self.tls.wrap_socket(self.connect(), server_hostname="localhost")

    def open_idle(self):
        for _ in range(self.size["idle"]):
            # The raw socket is enough to see the end, and much smaller than OpenSSL's state.
            self.enter(Visitor("idle", socket.socket(fileno=self.shake_hands().detach())))

    def open_slow(self, callback_url):
        path = callback_url.split("/", 3)[3]
        head = f"GET / HTTP/1.1\r\nhost: localhost\r\nx-slow: {'z' * 200}".encode()
        body = f"POST /{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/xml\r\ncontent-length: 4000\r\n\r\n".encode()
        xml = b'<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/">'
        for kind, start, script in (("slow head", b"", head), ("slow body", body, xml)):
            for _ in range(self.size[kind]):
                session = self.shake_hands()
                if start:
                    session.sendall(start)
                self.enter(Visitor(kind, session, session, script))

    def open_silent(self):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self.tls.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
        except ssl.SSLWantReadError:
            pass
        hello = outgoing.read()
        for kind, start in (("silent", b""), ("half hello", hello[:len(hello) // 2])):
            for _ in range(self.size[kind]):
                sock = self.connect()
                if start:
                    sock.sendall(start)
                self.enter(Visitor(kind, sock))

    def open(self):
        return [visitor for visitor in self.visitors if visitor.ended is None]

    def still_open(self):
        """How many there are, after a look at those that have ended."""
        for descriptor, _ in self.epoll.poll(0):
            self.look_at(descriptor)
        return len(self.open())

    def look_at(self, descriptor):
        visitor = self.by_descriptor[descriptor]
        visitor.look()
        if visitor.ended is not None:
            self.epoll.unregister(descriptor)
            visitor.sock.close()

    def live(self, seconds, until, each=None):
        """The crowd drips and watches for its connections' ends, until `until()`; `each` runs with every drop."""
        end = time.monotonic() + seconds
        dripping = [visitor for visitor in self.visitors if visitor.script]
        drop_due = 0.0
        while time.monotonic() < end:
            if time.monotonic() >= drop_due:
                if until():
                    return
                for visitor in dripping:
                    visitor.drip()
                if each:
                    each()
                drop_due = time.monotonic() + 0.4
            for descriptor, _ in self.epoll.poll(max(0.0, min(0.2, drop_due - time.monotonic()))):
                self.look_at(descriptor)
        raise AssertionError(f"not within {seconds} s; open: {len(self.open())} of {len(self.visitors)}")

    def close(self):
        for visitor in self.open():
            visitor.sock.close()
        self.epoll.close()


class Newcomer:
    """Between the drops, somebody new: a fresh TLS connection and one request."""

    def __init__(self, crowd):
        self.crowd, self.times_ms = crowd, []

    def __call__(self):
        began = time.monotonic()
        with self.crowd.shake_hands() as session:
            session.sendall(b"GET /api/ens/alive HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            answer = session.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200"), answer
        self.times_ms.append((time.monotonic() - began) * 1000)


def load_command(world, mails):
    return [f"{BIN}/bellhop", "load", "--server", world.url, "--api-token", world.token, "--ca", f"{world.folder}/ca.pem",
            "--ews-url", world.ews_url, "--exchange-control", f"127.0.0.1:{world.exchange_control}",
            "--apns-control", f"127.0.0.1:{world.apns_control}", "--password", world.password,
            "--mailboxes", str(MAILBOXES), "--keep-registered", "--concurrency", "8", "--mails", str(mails)]


def latency_of(printed):
    """(median, 99th percentile) in ms; the load itself ends with an error where a mail is missing or came twice."""
    found = re.search(r"median ([\d.]+), 90 % [\d.]+, 99 % ([\d.]+)", printed)
    assert found, printed
    return float(found.group(1)), float(found.group(2))


def run_load(world, crowd=None):
    mails = MAILS_BESIDE if crowd else MAILS_ALONE
    load = subprocess.Popen(load_command(world, mails), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    world.processes.append(load)
    newcomer = Newcomer(crowd) if crowd else None
    if crowd:
        crowd.live(120, lambda: load.poll() is not None, newcomer)
    printed = load.communicate(timeout=120)[0]
    assert load.returncode == 0, printed
    assert f"arrived {mails}, missing 0, arrived again 0" in printed, printed
    return latency_of(printed), newcomer.times_ms if newcomer else []


def check_ends(crowd):
    for kind in SHARES:
        ends = sorted(visitor.ended - visitor.since for visitor in crowd.visitors if visitor.kind == kind)
        print(f"  {kind}: {len(ends)} ended after {ends[0]:.2f} to {ends[-1]:.2f} s (limit {ENDS_AFTER_S[kind]:.0f} s)")
        assert ends[0] >= ENDS_AFTER_S[kind] - EARLY_S, (kind, ends[0])
        assert ends[-1] <= ENDS_AFTER_S[kind] + LATE_S, (kind, ends[-1])
    for visitor in crowd.visitors:
        if visitor.kind == "slow body":
            assert visitor.received.startswith(b"HTTP/1.1 408"), visitor.received[:100]


def one_round(world, number):
    """One crowd from the first to the last connection. Returns (latency, bytes of an idle connection, RSS after all)."""
    pid, troubles = world.server.pid, 'bellhop_connection_troubles_total{reason="timed_out"}'
    crowd = Crowd(world, CROWD)
    try:
        baseline, timed_out = connections_open(world), world.metrics()[troubles]
        empty = resident_bytes(pid)
        crowd.open_idle()
        wait_until("all idle connections are counted", lambda: connections_open(world) >= baseline + crowd.size["idle"] - 64)
        each = (resident_bytes(pid) - empty) / crowd.size["idle"]
        crowd.open_slow(world.exchange("GET", "/subscriptions?address=user1@example.com")["subscriptions"][-1]["url"])
        crowd.open_silent()
        at_once = crowd.still_open()
        latency, newcomers = run_load(world, crowd)
        crowded = resident_bytes(pid)
        print(f"round {number}: {len(crowd.visitors)} connections, {at_once} at the same time, {len(crowd.open())} of them still "
              f"there when the load was over; {each / 1024:.1f} KiB more memory for each idle TLS connection")
        print(f"  mails beside the crowd: median {latency[0]:.1f} ms, 99 % {latency[1]:.1f} ms; {len(newcomers)} newcomers: "
              f"slowest {max(newcomers):.1f} ms")
        crowd.live(60, lambda: not crowd.open())
        check_ends(crowd)
        wait_until("the server's connections are those of before", lambda: connections_open(world) <= baseline + 8)
        # The counts of a listener reach the metrics once a second, later than the ends that we saw.
        wait_until("each connection of the crowd is counted as timed out",
                   lambda: world.metrics()[troubles] >= timed_out + len(crowd.visitors))
    finally:
        crowd.close()
    after = resident_bytes(pid)
    print(f"  RSS {empty / 2**20:.1f} MiB before, {crowded / 2**20:.1f} MiB with the crowd, {after / 2**20:.1f} MiB after")
    assert at_once >= CROWD * 0.95, f"only {at_once} connections at the same time: a slow machine, or they ended early"
    return latency, each, after


def main():
    wanted = CROWD * 2 + 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        print(f"skipped: {wanted} open files are needed, the hard limit is {hard}")
        return SKIP
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    began = time.monotonic()
    with World(mailboxes=MAILBOXES, keep_payloads=False, listener_config=LISTENER, server_config=LIMITS) as world:
        world.start_standins()
        world.start_server()
        run_load(world)  # registers, and warms every pool
        alone, _ = run_load(world)
        print(f"mails without a crowd: median {alone[0]:.1f} ms, 99 % {alone[1]:.1f} ms")
        first, each, memory_first = one_round(world, 1)
        latencies = [first]
        if not SANITIZED:  # whose memory says nothing
            second, _, memory_second = one_round(world, 2)
            latencies.append(second)
            growth = memory_second / memory_first - 1
            print(f"the second crowd changed the memory by {growth * 100:+.1f} %; all in {time.monotonic() - began:.0f} s")
            assert each <= IDLE_CONNECTION_BYTES_MAX, f"{each / 1024:.1f} KiB for an idle TLS connection"
            assert growth < SECOND_ROUND_GROWTH_MAX, f"the second round grew by {growth * 100:.1f} %"
        for latency in latencies:
            assert latency[1] <= max(alone[1] * SLOWER_MAX, LATENCY_FLOOR_MS), (latency, alone)
        assert world.metrics()["bellhop_events_in_flight"] == 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
