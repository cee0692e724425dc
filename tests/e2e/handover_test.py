#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One server takes the place of another while callbacks come: no connection is refused and every callback is answered OK,
with fewer and with more cores; TLS sessions are resumed. Then the same with a successor, or the server itself, that dies
at each step; a second server on the same store; and the descriptors that a service manager keeps over a restart.

  handover_test.py [hand-overs under load]     default 4"""
import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from http2_test import callback  # noqa: E402
from processes import BIN, World, free_ports, wait_until  # noqa: E402
from systemd_test import LAUNCHER, Manager  # noqa: E402

CONFIG = """[notification]
callbacks_per_mailbox_per_minute_max = 100000
in_flight_per_mailbox_max = 64
"""
LISTENER = "drain_timeout_ms = 5000\nhttp2_goaway_grace_ms = 300"
HELLO = b"bellhop hand-over 1"


def tls_context(world):
    return ssl.create_default_context(cafile=f"{world.folder}/ca.pem")


class Connection:
    """One connection that sends callbacks and reads the answers."""

    def __init__(self, world, context=None, session=None):
        plain = socket.create_connection(("127.0.0.1", world.public_port), timeout=60)
        self.socket = (context or tls_context(world)).wrap_socket(plain, server_hostname="localhost", session=session)

    def send(self, target, body):
        self.socket.sendall((f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml; charset=utf-8\r\n"
                             f"Content-Length: {len(body)}\r\n\r\n{body}").encode())

    def answer(self):
        """(status, body, whether the connection goes on); nothing where it ended before."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.socket.recv(65536)
            if not piece:
                return None
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = int((re.search(rb"(?i)content-length: (\d+)", head) or [b"", b"0"])[1])
        while len(body) < length:
            piece = self.socket.recv(65536)
            assert piece, "the answer was cut off"
            body += piece
        return int(head.split()[1]), body, b"connection: close" not in head.lower()

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.close()


class Load:
    """Threads that send one heartbeat after the other, over a connection for as long as the server keeps it."""

    def __init__(self, world, threads=6):
        self.world, self.url, self.body = world, *callback(world, 1)
        self.target = self.url.split("localhost:", 1)[1].partition("/")
        self.target = "/" + self.target[2]
        self.context = tls_context(world)
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.answered, self.faults, self.longest = 0, [], 0.0
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]

    def __enter__(self):
        for one in self.threads:
            one.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for one in self.threads:
            one.join()

    def run(self):
        connection = None
        while not self.stop.is_set():
            begun = time.monotonic()
            try:
                if connection is None:
                    connection = Connection(self.world, self.context)
                connection.send(self.target, self.body)
                answer = connection.answer()
                fault = None if answer and answer[0] == 200 and b">OK</" in answer[1] else repr(answer)
            except OSError as error:
                answer, fault = None, repr(error)
            with self.lock:
                self.longest = max(self.longest, time.monotonic() - begun)
                if fault:
                    self.faults.append(fault)
                else:
                    self.answered += 1
            if not answer or not answer[2]:
                connection.close() if connection else None
                connection = None

    def grown(self, by):
        goal = self.answered + by
        wait_until("the load flows", lambda: self.answered >= goal, 60)


def set_cores(world, cores):
    with open(world.config) as file:
        text = re.sub(r"(?m)^cores = .*$", f"cores = {cores}", file.read())
    with open(world.config, "w") as file:
        file.write(text)


def take_over(world):
    before = world.server
    begun = time.monotonic()
    successor = world.spawn("server", "bellhopd", "--config", world.config, "--take-over")
    assert before.wait(60) == 0, world.log_of("server")
    took = time.monotonic() - begun
    world.server = successor
    wait_until("the successor is ready", world.ready)
    return took


def events(world, name):
    return [json.loads(line) for line in world.log_of("server").splitlines() if f'"event":"{name}"' in line]


def under_load(world, rounds):
    begun = time.monotonic()
    with Load(world) as load:
        load.grown(200)
        quiet_longest, load.longest = load.longest, 0.0
        times = []
        for number in range(rounds):
            set_cores(world, (1, 3, 2)[number % 3])
            times.append(take_over(world))
            load.grown(200)
    rate = load.answered / (time.monotonic() - begun)
    drained = events(world, "drained")
    assert not load.faults, (len(load.faults), load.faults[:5])
    assert len(drained) == rounds and all(one["handed_back"] == 0 and one["balance"] == 0 for one in drained), drained
    assert all(one["to_successor"] for one in drained), drained
    print(f"ok: {rounds} hand-overs under load: {load.answered} callbacks answered OK ({rate:.0f} a second), 0 connections refused, 0 handed back; "
          f"longest answer {load.longest * 1000:.0f} ms (before: {quiet_longest * 1000:.0f} ms), "
          f"a hand-over from start to end {max(times):.2f} s at most")


def sessions(world):
    context = tls_context(world)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # whose tickets come with the handshake
    first = Connection(world, context)
    session = first.socket.session
    first.close()
    take_over(world)
    again = Connection(world, context, session)
    assert again.socket.session_reused, "the new server must open the old one's tickets"
    again.close()
    print("ok: TLS sessions are resumed over a hand-over")


def one_owner(world):
    before = len(world.log_of("server"))
    second = world.spawn("server", "bellhopd", "--config", world.config)
    assert second.wait(30) == 1
    assert "start with --take-over" in world.log_of("server")[before:], world.log_of("server")[before:]
    assert world.ready()
    print("ok: a second server on the same store does not start, and does no harm")


class Successor:
    """A successor that goes only so far."""

    def __init__(self, world):
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(30)
        self.channel.connect(f"{world.folder}/data/handover.sock")
        self.names, self.descriptors = [], []

    def ask(self):
        self.channel.send(HELLO)
        while True:
            text, descriptors, _, _ = socket.recv_fds(self.channel, 1 << 16, 253)
            if text == b"all":
                return
            assert text.startswith(b"sockets\n"), text
            self.names += text.decode().split("\n")[1:]
            self.descriptors += descriptors

    def die(self):
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.channel.close()


def wait_paused(world):
    """Until nobody accepts: a handshake then gets no answer."""
    def paused():
        probe = socket.create_connection(("127.0.0.1", world.public_port), timeout=60)
        probe.settimeout(1)
        with contextlib.closing(probe):
            try:
                tls_context(world).wrap_socket(probe, server_hostname="localhost").close()
                return False
            except TimeoutError:
                return True
    wait_until("new connections wait", paused)


def successors_that_die(world):
    target, body = callback(world, 1)
    target = "/" + target.split("localhost:", 1)[1].partition("/")[2]

    def serves_on(abandoned):
        wait_until("the server says that it serves on", lambda: len(events(world, "handover_abandoned")) == abandoned)
        connection = Connection(world)
        for _ in range(3):
            connection.send(target, body)
            status, _, goes_on = connection.answer()
            assert status == 200 and goes_on, "connections live on as before"
        connection.close()

    begun = len(events(world, "handover_abandoned"))
    early = Successor(world)
    early.ask()
    assert len(early.names) == len(early.descriptors), early.names
    assert sorted({name.partition("@")[0] for name in early.names}) == ["own", "tickets"], early.names
    early.die()
    serves_on(begun + 1)

    ready = Successor(world)  # dies while connections are asked to leave
    ready.ask()
    resting = Connection(world)
    ready.channel.send(b"ready")
    wait_until("the hand-over begins", lambda: len(events(world, "handover_begun")) > len(events(world, "drained")))
    ready.die()
    serves_on(begun + 2)
    resting.close()

    late = Successor(world)  # dies while nothing is accepted and a request is still under way
    late.ask()
    slow = Connection(world)
    slow.socket.sendall(f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n"
                        f"Content-Length: {len(body)}\r\n\r\n".encode())
    late.channel.send(b"ready")
    wait_paused(world)
    waiting = socket.create_connection(("127.0.0.1", world.public_port), timeout=60)
    late.die()
    serves_on(begun + 3)
    slow.socket.sendall(body.encode())
    assert slow.answer()[0] == 200, "the request that was under way"
    with tls_context(world).wrap_socket(waiting, server_hostname="localhost") as one:
        one.sendall(b"GET /api/ens/alive HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b" 200 " in one.recv(4096), "the connection that waited"
    slow.close()

    stranger = Successor(world)
    stranger.channel.send(b"hello")
    assert stranger.channel.recv(100) == b""
    print("ok: a successor that dies after asking, in the first step, in the second, or speaks otherwise leaves no trace")


def server_that_dies(world):
    """kill -9 of the old one while it winds down: its sockets, and who waits in them, are the successor's."""
    target, body = callback(world, 1)
    target = "/" + target.split("localhost:", 1)[1].partition("/")[2]
    slow = Connection(world)
    slow.socket.sendall(f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n"
                        f"Content-Length: {len(body)}\r\n\r\n".encode())
    begun = len(events(world, "handover_begun"))
    old = world.server
    world.server = world.spawn("server", "bellhopd", "--config", world.config, "--take-over")
    wait_until("the hand-over begins", lambda: len(events(world, "handover_begun")) == begun + 1)
    wait_paused(world)
    waiting = [socket.create_connection(("127.0.0.1", world.public_port), timeout=60) for _ in range(20)]
    killed = time.monotonic()
    old.kill()
    old.wait()
    wait_until("the successor is ready", lambda: world.admin("/readyz", check=False))
    took = time.monotonic() - killed
    served = 0
    for plain in waiting:
        with tls_context(world).wrap_socket(plain, server_hostname="localhost") as one:
            one.sendall(b"GET /api/ens/alive HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            served += b" 200 " in one.recv(4096)
    assert served == len(waiting), served
    fresh = Connection(world)
    fresh.send(target, body)
    assert fresh.answer()[0] == 200
    fresh.close()
    slow.close()
    print(f"ok: kill -9 of the server in the middle: the successor is ready after {took:.2f} s, and the "
          f"{served} connections that waited were served")


class Store(Manager):
    """A service manager that keeps descriptors."""

    def __init__(self, folder):
        super().__init__(folder)
        self.kept = []

    def read(self):
        while True:
            try:
                text, descriptors, _, _ = socket.recv_fds(self.socket, 4096, 8)
            except BlockingIOError:
                return self.messages
            self.messages.append((time.monotonic(), text.decode()))
            name = re.search(r"FDNAME=(.*)", text.decode())
            if "FDSTORE=1" in text.decode():
                self.kept += [(name[1], descriptor) for descriptor in descriptors]


def manager_restarts(world):
    """systemd's way: the old one ends, the new one gets what was kept; nobody who connects meanwhile is refused."""
    world.server.send_signal(signal.SIGTERM)
    assert world.server.wait(30) == 0
    os.makedirs(f"{world.folder}/manager", exist_ok=True)
    manager = Store(f"{world.folder}/manager")
    set_cores(world, 2)
    world.server = world.spawn("server", "bellhopd", "--config", world.config, env={"NOTIFY_SOCKET": manager.path})
    manager.wait_for("READY=1")
    wait_until("everything is kept", lambda: manager.read() and len(manager.kept) == 5)  # 2 public, 2 admin, tickets
    assert sorted({name.partition("@")[0] for name, _ in manager.kept}) == ["own", "tickets"], manager.kept
    with Load(world, threads=4) as load:
        load.grown(100)
        load.longest = 0.0
        world.server.send_signal(signal.SIGTERM)
        assert world.server.wait(30) == 0
        descriptors = [descriptor for _, descriptor in manager.kept]
        names = ":".join(name for name, _ in manager.kept)
        log = open(f"{world.folder}/server.log", "ab")
        world.server = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, repr(descriptors), names, "0", f"{BIN}/bellhopd", "--config", world.config],
            pass_fds=descriptors, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            env={**os.environ, "NOTIFY_SOCKET": manager.path})
        world.processes.append(world.server)
        wait_until("the server is ready", world.ready)
        load.grown(100)
    assert not load.faults, (len(load.faults), load.faults[:5])
    print(f"ok: a restart with descriptors that the service manager keeps: {load.answered} callbacks answered OK, 0 refused, "
          f"longest answer {load.longest * 1000:.0f} ms")
    # An address that the configuration gives up is not kept any longer.
    [other] = free_ports(1)
    with open(world.config) as file:
        text = file.read().replace(f'addresses = ["127.0.0.1:{world.public_port}"]', f'addresses = ["127.0.0.1:{other}"]')
    with open(world.config, "w") as file:
        file.write(text)
    world.server.send_signal(signal.SIGTERM)
    assert world.server.wait(30) == 0
    log = open(f"{world.folder}/server.log", "ab")
    world.server = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, repr(descriptors), names, "0", f"{BIN}/bellhopd", "--config", world.config],
        pass_fds=descriptors, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        env={**os.environ, "NOTIFY_SOCKET": manager.path})
    world.processes.append(world.server)
    wait_until("the server is ready", world.ready)
    manager.wait_for("FDSTOREREMOVE=1")
    print("ok: sockets that the configuration gives up are given up to the manager, too")


def hands_back(world):
    """A mail that Exchange is slow to hand out, when the successor comes: the old server's patience ends, it answers 503, and the
    repeat brings the mail to the new one, once."""
    world.exchange("POST", "/faults", {"kind": "none", "operation": "get_item", "delayMs": 15000, "count": 1})
    world.exchange("POST", "/deliver", {"address": "user1@example.com", "subject": "slow"})
    wait_until("the callback is under way", lambda: world.metrics().get("bellhop_events_in_flight") == 1)
    take_over(world)
    [drained] = events(world, "drained")
    assert (drained["handed_back"], drained["balance"], drained["connections_left"]) == (1, 0, 0), drained
    wait_until("the repeat is acknowledged",
               lambda: world.exchange("GET", "/books?address=user1@example.com")["newMailsAcknowledged"] == 1, 60)
    pushed = [push for push in world.pushes()["pushes"] if "slow" in str(push)]
    assert len(pushed) == 1, pushed
    print("ok: what is not done when the patience ends is handed back by 503; its repeat brings the mail, once")


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    with World(cores=2, server_config=CONFIG, listener_config=LISTENER) as world:
        world.start_standins()
        world.start_server()
        world.device("subscribe", 1)
        one_owner(world)
        under_load(world, rounds)
        sessions(world)
        successors_that_die(world)
        server_that_dies(world)
        manager_restarts(world)
    with World(server_config="[notification]\nfetch_timeout_ms = 20000\ntotal_timeout_ms = 25000\n",
               listener_config="drain_timeout_ms = 1000\nhttp2_goaway_grace_ms = 200", time_scale=0.3) as world:
        world.start_standins()
        world.start_server()
        world.device("subscribe", 1)
        wait_until("the subscription is active", lambda: world.exchange("GET", "/books")["heartbeatsAcknowledged"] >= 1)
        hands_back(world)
    return 0


if __name__ == "__main__":
    sys.exit(main())
