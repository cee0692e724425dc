#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A new bellhopd takes over from a running one under load: no connection is refused, no mail is lost or pushed twice, and what
that adds to a notification's time is measured. Without systemd: the sockets go from process to process.

  restart_test.py [restarts] [rate]    default 3 restarts at 200 mails a second; 1000 for the table in the documents
  restart_test.py --self-check         only what comes first: a stop and a start one after the other must be seen to refuse"""
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from books import CONFIG, Books, Load, Verdict, register_all, settle  # noqa: E402
from processes import World, wait_until  # noqa: E402

MAILBOXES = 60


class Knocking(threading.Thread):
    """Connects to the public listener all the time, and counts who is not let in."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.made, self.refused, self.stopping = port, 0, [], threading.Event()

    def run(self):
        while not self.stopping.wait(0.001):
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                self.made += 1
            except OSError as error:
                self.refused.append((time.monotonic_ns(), str(error)))


def take_over(world):
    """(begin, end) of the time in which there are two processes."""
    old, begun = world.server, time.monotonic_ns()
    new = world.spawn("server", "bellhopd", "--config", world.config, "--take-over")
    wait_until("the old process ends by itself", lambda: old.poll() is not None, 60)
    assert old.returncode == 0, world.log_of("server")[-3000:]
    world.server = new
    wait_until("the new process is ready", world.ready)
    return begun, time.monotonic_ns()


def self_check(world):
    knocking = Knocking(world.public_port)
    knocking.start()
    wait_until("somebody knocks", lambda: knocking.made > 10)
    assert not knocking.refused, knocking.refused[:3]
    world.server.terminate()
    assert world.server.wait(30) == 0
    world.start_server(token=False)
    made = knocking.made
    wait_until("somebody is let in again", lambda: knocking.made > made)
    knocking.stopping.set()
    knocking.join()
    assert knocking.refused, "a server that was not there must be seen"
    print(f"ok: a restart without taking over refuses {len(knocking.refused)} connections")


def took_ms(mail):
    return (mail.acknowledged() - mail.arrived) / 1e6


def main():
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    restarts = numbers[0] if numbers else 3
    rate = numbers[1] if len(numbers) > 1 else 200
    with World(mailboxes=MAILBOXES, cores=2, server_config=CONFIG, time_scale=0.05, exchange_options=("--ledger", "2000000"),
               apns_options=("--pushes-kept", "2000000")) as world:
        world.start_standins()
        world.start_server()
        self_check(world)
        if "--self-check" in sys.argv:
            return 0
        tokens = register_all(world, MAILBOXES)
        settle(world)
        books = Books(world).read()
        load, knocking = Load(world, "restart", rate, sorted(tokens)), Knocking(world.public_port)
        load.start()
        knocking.start()
        wait_until("there is load", lambda: load.sent >= 3 * rate, 60)
        windows = []
        for _ in range(restarts):
            windows.append(take_over(world))
            sent = load.sent
            wait_until("it runs on", lambda sent=sent: load.sent >= sent + 2 * rate, 60)
            books.read()
        load.stop()
        knocking.stopping.set()
        knocking.join()
        settle(world)
        books.read().complete()
        verdict = Verdict(books, tokens, load.prefix)
        mails = sorted(verdict.mails, key=lambda mail: mail.arrived)
        inside = [took_ms(mail) for mail in mails if any(begin <= mail.arrived <= end for begin, end in windows)]
        outside = sorted(took_ms(mail) for mail in mails if not any(begin <= mail.arrived <= end for begin, end in windows))
        refused = [a for a in books.attempts if a["answer"] == "failed" and "refused" in a.get("error", "").lower()]
        handed_back = [a for a in books.attempts if a["status"] == 503]
        print(verdict)
        print(f"{restarts} restarts at {rate} mails a second, {knocking.made} connections: {len(knocking.refused)} refused; "
              f"of {len(books.attempts)} callbacks {len(refused)} met a refused connection, {len(handed_back)} were handed back")
        middle, p99 = outside[len(outside) // 2], outside[int(len(outside) * 0.99)]
        print(f"from arrival to OK: {middle:.1f} ms in the middle, 99 % {p99:.1f} ms; while two processes ran, at most {max(inside):.1f} ms: "
              f"{max(inside) - middle:.1f} ms added")
        assert not knocking.refused and not refused, (knocking.refused[:3], refused[:3])
        assert verdict.good() and not verdict.repeated, "RED"
        assert not books.ended, books.ended[:3]
        world.run("audit", "--socket", world.socket)
        world.server.terminate()
        assert world.server.wait(30) == 0
        world.run("store", "check", "--config", world.config)
    return 0


if __name__ == "__main__":
    sys.exit(main())
