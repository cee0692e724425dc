#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is around bellhop is down, and the stand-ins' books say what became of the mail.

  outage_test.py [self-check] [apns] [ews] [slow]    default all of them
    self-check: a push that is lost, a subscription that dies, an OK that comes late: each must be seen
    apns: APNs is dead for ten minutes of the scaled clock: every event has its OK within the deadline, no subscription dies,
          and every event is pushed afterwards
    ews:  EWS is dead, or never answers: every event is pushed without content within the deadline
    slow: one EWS host takes ten seconds for each answer: the other host's notifications are as quick as before, and
          acknowledging by the journal is seen to be switched on for the slow one"""
import json
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from books import CONFIG, Books, Load, Verdict, is_alert, register_all, settle  # noqa: E402
from processes import World, free_ports, wait_until  # noqa: E402

SCALE = 0.05                 # ten minutes are 30 seconds
TOTAL_S = 8                  # notification.total_timeout_ms
SLACK_S = 2                  # for a machine that has other things to do
MAILBOXES = 10
RATE = 20


def make_world(**options):
    return World(mailboxes=MAILBOXES, cores=2, server_config=CONFIG, time_scale=SCALE, exchange_options=("--ledger", "1000000"),
                 apns_options=("--time-scale", str(SCALE), "--pushes-kept", "1000000"), **options)


def begin(world):
    world.start_standins()
    world.start_server()
    tokens = register_all(world, MAILBOXES)
    settle(world)
    return tokens


def seconds_to_ok(books, prefix):
    """From the first callback with a mail to Exchange's OK, the longest."""
    mails = [mail for mail in books.by_item.values() if mail.subject.startswith(prefix)]
    assert all(mail.acknowledged() for mail in mails), "a mail has no OK"
    return max((mail.acknowledged() - min(a["begunNs"] for a in mail.attempts)) / 1e9 for mail in mails)


def nobody_died(books):
    assert not books.ended, f"subscriptions ended: {books.ended[:3]}"


def is_over(world, kind):
    """A push goes through again."""
    before = world.apns("GET", "/books")["accepted"]
    wait_until(f"APNs is back after {kind}", lambda: world.apns("GET", "/books")["accepted"] > before, 120)


def apns_is_dead(kind):
    with make_world() as world:
        tokens = begin(world)
        books = Books(world).read()
        load = Load(world, f"apns-{kind}", RATE, sorted(tokens))
        world.apns("POST", "/outage", {"kind": kind, "minutes": 10})
        load.start()
        wait_until("pushes are journaled", lambda: world.metrics()["bellhop_journal_records"] > MAILBOXES, 25)
        explained(world)
        before = len(books.read().pushes)
        is_over(world, kind)
        load.stop()
        settle(world, 120)
        journaled = world.metrics()['bellhop_device_outcomes_total{outcome="journaled"}']
        wait_until("the journal is empty", lambda: world.metrics()["bellhop_journal_records"] == 0, 120)
        books.read().complete()
        verdict = Verdict(books, tokens, load.prefix, after_push=False)
        longest = seconds_to_ok(books, load.prefix)
        print(f"APNs {kind} for 10 min: OK after {longest:.1f} s at most, {journaled:.0f} journaled, {len(books.pushes) - before} pushes afterwards")
        print(verdict)
        nobody_died(books)
        assert verdict.good() and longest <= TOTAL_S + SLACK_S, "RED"
        audit = world.run("audit", "--socket", world.socket)
        assert "every accepted event is accounted for" in audit.stdout, audit.stdout


def explained(world):
    """The operator is told what waits, and until when."""
    text = world.run("explain", "--tenant", "demo", "--address", "user1@example.com", "--socket", world.socket).stdout
    assert re.search(r"[1-9]\d* pushes wait in the journal", text), text
    assert re.search(r"next 20\d\d-\d\d-\d\dT", text) and re.search(r"what comes\n(.*\n)*.*journal ", text), text
    outcome = world.run("explain", "journaled", "--socket", world.socket).stdout
    assert re.search(r"^[1-9]\d* since start", outcome, re.M), outcome


def ews_is_dead(fault):
    with make_world() as world:
        tokens = begin(world)
        books = Books(world).read()
        prefix = f"ews-{fault['kind']}"
        for operation in ("get_item", "find_item", "get_folder"):
            world.exchange("POST", "/faults", {**fault, "operation": operation, "minutes": 10})
        load = Load(world, prefix, RATE, sorted(tokens))
        load.start()
        wait_until("some mails have arrived", lambda: load.sent >= 200, 60)
        load.stop()
        settle(world, 60)
        books.read().complete()
        verdict = Verdict(books, tokens, prefix, after_push=False)
        longest = seconds_to_ok(books, prefix)
        # Without its subject a push cannot be matched with its mail; all of a phone's stand for all of its mails.
        late = slowest_push(books, tokens, verdict.mails)
        print(f"EWS dead ({fault['kind']}): OK after {longest:.1f} s, pushes after {late:.1f} s at most; {verdict}")
        nobody_died(books)
        assert verdict.content_free == len(verdict.mails), "every push must be without content"
        assert verdict.good() and max(longest, late) <= TOTAL_S + SLACK_S, "RED"
        world.exchange("DELETE", "/faults")


def slowest_push(books, tokens, mails):
    """The n-th push of a phone comes at most so many seconds after its n-th mail was first told of."""
    slowest = 0.0
    for address, some in tokens.items():
        told = sorted(min(a["begunNs"] for a in mail.attempts) for mail in mails if mail.mailbox == address)
        for token in some:
            came = sorted({p["collapseId"]: p["atNs"] for p in reversed(books.pushes)
                           if p["deviceToken"] == token and is_alert(p) and told and p["atNs"] > told[0]}.values())
            slowest = max([slowest] + [(push - mail) / 1e9 for mail, push in zip(told, came)])
    return slowest


class TwoHosts(World):
    """A second Exchange on a port of its own, which is a host of its own to bellhop."""

    def __init__(self, **options):
        super().__init__(**options)
        self.slow_port, self.slow_control = free_ports(2)
        self.slow_ews_url = f"https://localhost:{self.slow_port}/EWS/Exchange.asmx"

    def write_config(self):
        super().write_config()
        with open(self.config) as file:
            text = file.read()
        with open(self.config, "w") as file:
            file.write(text.replace(f"ews_ports = [{self.ews_port}]", f"ews_ports = [{self.ews_port}, {self.slow_port}]"))

    def start_slow(self):
        self.spawn("slow", "bellhop", "stand-in", "exchange", "--folder", self.folder, "--listen", f"127.0.0.1:{self.slow_port}",
                   "--control", f"127.0.0.1:{self.slow_control}", "--mailboxes", str(SLOW_MAILBOXES), "--domain", "slow.example.com",
                   "--password", self.password, "--time-scale", str(self.time_scale))
        wait_until("the slow Exchange answers", lambda: self.slow("GET", "/books", check=False))

    def slow(self, method, path, body=None, check=True):
        text = self.http(method, f"http://127.0.0.1:{self.slow_control}{path}", body, check)
        return None if text is None else json.loads(text)

    def subscribe_slow(self, number):
        wait_until("a key pair is ready", lambda: self.metrics()["bellhop_key_pool_keys"] > 0)
        self.run("device", "subscribe", "--server", self.url, "--api-token", self.token, "--ca", f"{self.folder}/ca.pem",
                 "--address", f"user{number}@slow.example.com", "--device-id", f"slow-{number}",
                 "--push-token", self.push_token(200_000 + number), "--ews-url", self.slow_ews_url, "--password", self.password)


SLOW_MAILBOXES = 20
SLOW_LOG = '"event":"ack_mode"'  # of bellhop, when a source's way of acknowledging changes


def latencies_ms(world, tokens, prefix, mails=300):
    """From a mail's arrival to APNs, in milliseconds, sorted."""
    books = Books(world).read()
    load = Load(world, prefix, 50, sorted(tokens))
    load.start()
    wait_until("the mails have arrived", lambda: load.sent >= mails, 60)
    load.stop()
    settle(world)
    books.read()
    at = {push["body"]: push["atNs"] for push in books.pushes}
    return sorted((at[mail.subject] - mail.arrived) / 1e6 for mail in books.by_item.values() if mail.subject.startswith(prefix))


def one_host_is_slow():
    # So few callbacks are many here: each subscription has one under way.
    config = CONFIG + "auto_journal_above = 6\nauto_push_below = 2\n"
    with TwoHosts(mailboxes=MAILBOXES, cores=2, server_config=config, time_scale=SCALE,
                  exchange_options=("--ledger", "1000000"), apns_options=("--pushes-kept", "1000000")) as world:
        tokens = begin(world)
        world.start_slow()
        for number in range(1, SLOW_MAILBOXES + 1):
            world.subscribe_slow(number)
        alone = latencies_ms(world, tokens, "alone")
        world.slow("POST", "/faults", {"kind": "none", "delayMs": 10_000})
        world.slow("POST", "/deliver", {"count": 40 * SLOW_MAILBOXES, "rate": 40})
        wait_until("the slow host keeps callbacks waiting", lambda: world.slow("GET", "/books")["eventsPending"] > SLOW_MAILBOXES)
        beside = latencies_ms(world, tokens, "beside")
        p99 = [some[int(len(some) * 0.99)] for some in (alone, beside)]
        print(f"p99 from arrival to APNs: {p99[0]:.1f} ms alone, {p99[1]:.1f} ms beside a host that takes 10 s")
        # 100 % and 25 ms more: what the stand-ins themselves, on the same CPUs, add under the load of the slow host.
        assert p99[1] <= 2 * p99[0] + 25, "RED: the slow host slows the other one"
        wait_until("auto has switched", lambda: SLOW_LOG in world.log_of("server"), 60)
        print("ok: auto switched: " + next(line for line in world.log_of("server").splitlines() if SLOW_LOG in line))


def red(check):
    """The check must fail."""
    try:
        check()
    except AssertionError:
        return
    raise AssertionError("the planted fault was not seen")


def self_check():
    with make_world() as world:
        tokens = begin(world)

        def deliver(prefix):
            books = Books(world).read()
            world.exchange("POST", "/deliver", {"mails": [{"address": address, "subject": f"{prefix}-{address}"} for address in sorted(tokens)]})
            settle(world)
            return books.read()

        def in_time(books, prefix):
            longest = seconds_to_ok(books, prefix)
            assert longest <= TOTAL_S + SLACK_S, longest
        books = deliver("clean")
        nobody_died(books)
        in_time(books, "clean")
        assert Verdict(books, tokens, "clean").good()
        world.exchange("POST", "/faults", {"kind": "drop", "minutes": 10})
        world.apns("POST", "/rules", {"action": "swallow", "count": 1})
        bare = Verdict(deliver("bare"), tokens, "bare", after_push=False)
        assert len(bare.lost) == 1 and not bare.good(), f"one push without content is missing: {bare}"
        world.exchange("DELETE", "/faults")
        # Three repeats of the same callback: 1.5 + 3 + 6 seconds at this scale.
        world.exchange("POST", "/callback-faults", {"kind": "ignore_answer", "mailbox": "user1@example.com", "count": 3})
        late = deliver("late")
        red(lambda: in_time(late, "late"))
        world.exchange("POST", "/restart")
        red(lambda: nobody_died(late.read()))
        print("ok: a lost push, a late OK and a dead subscription are seen")


def main():
    scenes = sys.argv[1:] or ["self-check", "apns", "ews", "slow"]
    if "self-check" in scenes:
        self_check()
    if "apns" in scenes:
        for kind in ("refuse", "silent"):
            apns_is_dead(kind)
    if "ews" in scenes:
        ews_is_dead({"kind": "drop"})
        ews_is_dead({"kind": "none", "delayMs": 60_000})
    if "slow" in scenes:
        one_host_is_slow()
    return 0


if __name__ == "__main__":
    sys.exit(main())
