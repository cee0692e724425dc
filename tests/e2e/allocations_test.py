#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An idle server, and heartbeats through the whole of it, TLS and store included, take nothing from the OS heap after warm-up.

  allocations_test.py [heartbeats]     default 2000, over twelve keep-alive TLS connections; with one core, then with two

A library of ours (preload/count_allocations.c) counts malloc and its kin in the event loops' threads. Positive control: a
registration is counted. Where heartbeats are counted too, the callers are printed."""
import mmap
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from journey_test import status_event, subscription_of  # noqa: E402
from processes import BIN, PRELOAD, World, wait_until  # noqa: E402

CONFIG = "[notification]\ncallbacks_per_mailbox_per_minute_max = 100000\n"
WARM_UP, WINDOWS_MAX = 50, 4
IDLE_SECONDS = 3  # what a server does by itself once or twice a second is in it
DEPTH, SITES_MAX = 12, 40  # as in the library


class Counter:
    """The page that the library writes."""

    def __init__(self, path):
        with open(path, "wb") as file:
            file.write(bytes(4096))
        self.file = open(path, "r+b")
        self.page = mmap.mmap(self.file.fileno(), 4096)
        self.env = {"LD_PRELOAD": f"{PRELOAD}/libcount_allocations.so", "BELLHOP_ALLOCATIONS": path}

    def arm(self):
        """From here on the callers are noted."""
        self.page[24:32] = bytes(8)
        self.page[0:8] = struct.pack("<Q", 1)

    def disarm(self):
        self.page[0:8] = bytes(8)
        return self.calls

    def _word(self, index):
        return struct.unpack_from("<Q", self.page, 8 * index)[0]

    calls = property(lambda self: self._word(1))
    threads = property(lambda self: self._word(2))

    def callers(self):
        sites = min(self._word(3), SITES_MAX)
        return [struct.unpack_from(f"<{DEPTH}Q", self.page, 32 + 8 * DEPTH * site) for site in range(sites)]


def explain(pid, callers):
    """Names for return addresses, as far as they lie in the program."""
    with open(f"/proc/{pid}/maps") as maps:
        spans = [(int(line.split("-")[0], 16), int(line.split("-")[1].split()[0], 16), line.split()[-1])
                 for line in maps if len(line.split()) > 5]
    program = os.path.realpath(f"{BIN}/bellhopd")
    base = min(start for start, _, name in spans if name == program)
    for number, stack in enumerate(callers):
        print(f"allocation {number + 1}:")
        for address in filter(None, stack):
            name = next((name for start, end, name in spans if start <= address < end), "?")
            if name == program:
                found = subprocess.run(["addr2line", "-Cfpse", program, hex(address - base - 1)], capture_output=True, text=True)
                name = found.stdout.strip() or hex(address - base)
            print("   ", name)


class Exchange:
    """A keep-alive TLS connection that sends one heartbeat after the other."""

    def __init__(self, world, number):
        subscription = subscription_of(world, number)
        path = subscription["url"].split("/", 3)[3]
        body = status_event(subscription["id"], subscription["watermark"], subscription["watermark"]).encode()
        self.request = (f"POST /{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml; charset=utf-8\r\n"
                        f"Content-Length: {len(body)}\r\n\r\n").encode() + body
        tls = ssl.create_default_context(cafile=f"{world.folder}/ca.pem")
        sock = socket.create_connection(("localhost", world.public_port), timeout=30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.session = tls.wrap_socket(sock, server_hostname="localhost")

    def beat(self):
        self.send()
        self.take_answer()

    def send(self):
        self.session.sendall(self.request)

    def take_answer(self):
        answer = b""
        while b"</" not in answer[-200:] or not answer.rstrip().endswith(b"Envelope>"):
            piece = self.session.recv(65536)
            assert piece, answer
            answer += piece
        assert answer.startswith(b"HTTP/1.1 200") and b">OK</" in answer, answer


def heartbeats_of(world):
    return world.metrics()['bellhop_callbacks_total{outcome="heartbeat"}']


def measure(cores, count):
    with World(server_config=CONFIG, cores=cores) as world:
        counter = Counter(f"{world.folder}/allocations")
        world.start_standins()
        world.start_server(env=counter.env)
        before = counter.calls
        for number in (1, 2, 3):
            world.device("subscribe", number)
        assert counter.threads == cores, counter.threads
        assert counter.calls > before, "a registration takes no memory: nothing is counted"
        print(f"{cores} cores: three registrations: {counter.calls - before} allocations (positive control)")
        wait_until("all are active", lambda: world.exchange("GET", "/books")["heartbeatsAcknowledged"] >= 3)
        wait_until("key pairs are made", lambda: world.metrics()["bellhop_key_pool_keys"] >= 16, 60)
        # With two cores, some come in where their mailbox is at home, and some do not.
        connections = [Exchange(world, number) for number in (1, 2, 3) for _ in range(4)]
        for _ in range(WARM_UP):  # all at the same time: more than the measurement has under way
            for connection in connections:
                connection.send()
            for connection in connections:
                connection.take_answer()
        # A pool grows when two calls between cores meet for the first time, which the warm-up cannot force: so the first
        # window without an allocation counts. One that comes with each heartbeat, or each hundredth, is in all of them.
        for window in range(1, WINDOWS_MAX + 1):
            allocations = heartbeats_in_a_row(world, counter, connections, count)
            print(f"{cores} cores: {count} heartbeats over keep-alive TLS: {allocations} allocations in the event loops' threads")
            if allocations == 0:
                break
            explain(world.server.pid, counter.callers())
        assert allocations == 0, f"allocations in each of {window} windows"
        assert any(idle(world, counter, cores) == 0 for _ in range(WINDOWS_MAX)), "an idle server takes memory again and again"


def idle(world, counter, cores):
    """What the server does by itself, while nobody asks for anything."""
    before = counter.calls
    counter.arm()
    time.sleep(IDLE_SECONDS)
    allocations = counter.disarm() - before
    print(f"{cores} cores: {IDLE_SECONDS} idle seconds: {allocations} allocations in the event loops' threads")
    if allocations:
        explain(world.server.pid, counter.callers())
    return allocations


def heartbeats_in_a_row(world, counter, connections, count):
    """How many allocations the next `count` heartbeats cost."""
    counted, sent, before = heartbeats_of(world), count, counter.calls
    for _ in range(20):  # until the connection that asked for the metrics is closed
        for connection in connections:
            connection.beat()
        sent += len(connections)
        if counter.calls == before:
            break
        before = counter.calls
    counter.arm()
    for turn in range(count):
        connections[turn % len(connections)].beat()
    allocations = counter.disarm() - before
    assert heartbeats_of(world) - counted == sent, "they were no heartbeats"
    return allocations


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    for cores in (1, 2):
        measure(cores, count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
