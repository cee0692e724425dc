#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bellhopd is killed (SIGKILL) at random moments under load, and the stand-ins' own books are asked what became of every mail:
none lost, none at a wrong device, no repeat without a kill that explains it, OK never before the push.

  ledger_test.py [kills] [seed] [after-push|after-journal|auto]
                                   default 20 kills, after-push; 500 takes about half an hour
  ledger_test.py --self-check      only plants faults: a push that gets lost, a swapped device token, an OK before the push, a
                                   push repeated without cause, a mail shown twice. Each must turn the verdict red

BELLHOP_LEDGER_RATE: mails a second (200). BELLHOP_LEDGER_READY_S: how long a start may take (2; not asked of sanitizer builds).
The verdict of a red run names the first mails concerned; BELLHOP_KEEP=1 keeps logs and store."""
import os
import random
import re
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from books import CONFIG, Books, Load, Verdict, register_all, settle  # noqa: E402
from processes import World, wait_until  # noqa: E402

MAILBOXES = 40
SECOND_DEVICES = 8
SANITIZED = os.environ.get("BELLHOP_SANITIZED") == "1"
RATE = int(os.environ.get("BELLHOP_LEDGER_RATE", "60" if SANITIZED else "200"))
READY_S = float(os.environ.get("BELLHOP_LEDGER_READY_S", "2"))


def make_world(mailboxes, ack):
    config = CONFIG + f'ack = "{ack}"\n'
    if ack == "auto":
        config += "auto_journal_above = 4\nauto_push_below = 2\n"  # both ways are gone, to and fro
    return World(mailboxes=mailboxes, cores=2, server_config=config, time_scale=0.02,
                 exchange_options=("--ledger", "2000000"), apns_options=("--pushes-kept", "2000000"))


def kill(world):
    world.server.send_signal(signal.SIGKILL)
    moment = time.monotonic_ns()  # whatever the server did after this moment, it did not do
    world.server.wait()
    return moment


def restart(world):
    """Seconds until the server is ready again."""
    begun = time.monotonic()
    world.start_server(token=False)
    return time.monotonic() - begun


def balanced(world):
    done = world.run("audit", "--socket", world.socket, check=False)
    assert done.returncode == 0 and "every accepted event is accounted for" in done.stdout, done.stdout + done.stderr
    assert world.metrics()["bellhop_ledger_imbalance"] == 0


def many_kills(world, tokens, kills, seed, ack):
    rng = random.Random(seed)
    books = Books(world)
    load = Load(world, f"K{seed}", RATE, sorted(tokens))
    load.start()
    moments, starts = [], []
    for number in range(1, kills + 1):
        lives = rng.uniform(0.05, 1.5)
        begun = time.monotonic()
        wait_until("the server has lived long enough", lambda: time.monotonic() - begun >= lives, 30)
        killed = kill(world)
        starts.append(restart(world))
        moments.append((killed, time.monotonic_ns()))
        books.read()
        if number % 50 == 0:
            print(f"{number} kills, {load.sent} mails", flush=True)
    load.stop()
    settle(world, 120)
    wait_until("the journal is empty", lambda: world.metrics()["bellhop_journal_records"] == 0, 120)
    books.read().complete()
    balanced(world)
    verdict = Verdict(books, tokens, load.prefix, moments, after_push=ack == "after-push")
    print(f"{ack}, seed {seed}, {kills} kills, {load.sent} mails at {RATE} a second; ready after {max(starts):.2f} s at most, "
          f"{sorted(starts)[len(starts) // 2]:.2f} s in the middle")
    print(verdict)
    if not verdict.good():
        print(verdict.story(books, moments))
    assert len(verdict.mails) == load.sent, (len(verdict.mails), load.sent)
    assert sum(verdict.in_flight_at_kills) > 0 or kills < 5, "no kill met a push in flight: there was no load"
    assert not [one for one in books.ended if one["how"] != "unsubscribed"], f"subscriptions died: {books.ended[:3]}"
    assert verdict.good(), "RED"
    assert SANITIZED or max(starts) <= READY_S, f"ready after {max(starts):.2f} s"


# ---- Faults that the verdict must see ----

def settled(world, _books):
    settle(world)


def verdict_of(world, tokens, prefix, mails=20, finish=settled):
    """Some mails to four mailboxes in turn."""
    books = Books(world).read()
    addresses = sorted(tokens)[:4]
    world.exchange("POST", "/deliver", {"mails": [
        {"address": addresses[number % len(addresses)], "subject": f"{prefix}-{number}"} for number in range(mails)]})
    finish(world, books)
    return Verdict(books.read(), tokens, prefix)


def pushed(prefix, count):
    """Waits for pushes that come after the OK."""
    return lambda _world, books: wait_until(
        "all pushes are made", lambda: sum(push["body"].startswith(prefix) for push in books.read().pushes) >= count)


def deliver_and_settle(mail):
    def finish(world, _books):
        world.exchange("POST", "/deliver", mail)
        settle(world)
    return finish


def self_check(world, tokens, swapped):
    """`swapped`: address and secret of device-N of a mailbox whose token may be changed."""
    clean = verdict_of(world, tokens, "clean")
    assert clean.good() and not clean.repeated, f"without a fault the verdict must be green: {clean}"

    world.apns("POST", "/rules", {"action": "swallow", "count": 1})
    red = verdict_of(world, tokens, "swallowed")
    assert len(red.lost) == 1 and not red.good(), red
    print("ok: a push that gets lost behind its answer is seen")

    # APNs has the push, and the answer is lost: sent again under the same collapse id, with no kill to explain it.
    world.apns("POST", "/rules", {"action": "lose", "count": 1})
    red = verdict_of(world, tokens, "answer-lost")
    assert red.repeated and red.unexplained and not red.good(), red
    print("ok: a push that is repeated without a kill is seen")

    # Exchange does not hear the OK and repeats the callback: nothing may be pushed twice.
    retries = world.exchange("GET", "/books")["retries"]
    world.exchange("POST", "/callback-faults", {"kind": "ignore_answer", "count": 3})
    green = verdict_of(world, tokens, "repeated")
    assert green.good() and not green.repeated, green
    assert world.exchange("GET", "/books")["retries"] > retries, "Exchange must have repeated callbacks"
    print("ok: Exchange's repeats of answered callbacks push nothing twice")

    red = verdict_of(world, tokens, "twice", finish=deliver_and_settle({"address": sorted(tokens)[0], "subject": "twice-0"}))
    assert red.shown_twice and not red.good(), red
    print("ok: a mail that is shown twice is seen")

    address, number, secret = swapped
    other = next(token for name, some in tokens.items() for token in some if name != address)
    command = ["device", "updatetoken", "--server", world.url, "--api-token", world.token, "--ca", f"{world.folder}/ca.pem",
               "--address", address, "--device-id", f"device-{number}", "--device-secret", secret]
    world.run(*command, "--push-token", other)
    red = verdict_of(world, tokens, "swapped", finish=deliver_and_settle({"address": address, "subject": "swapped-x"}))
    assert [push for push in red.wrong_device if push["body"] == "swapped-x"] and not red.good(), red
    world.run(*command, "--push-token", tokens[address][0])
    print("ok: a push to another user's device is seen")

    early_ok(world, tokens)


def early_ok(world, tokens):
    """What bellhop must never do, done by Exchange in its place: the OK counts before the push is made."""
    world.apns("POST", "/rules", {"delayMs": 300, "count": 8})
    world.exchange("POST", "/callback-faults", {"kind": "count_as_ok", "count": 8})
    red = verdict_of(world, tokens, "early", mails=4, finish=pushed("early", 4))
    assert red.early_ok and not red.lost and not red.good(), red
    world.exchange("DELETE", "/faults")
    world.apns("DELETE", "/rules")
    print("ok: an OK before the push is seen")

    def killed(_world, _books):
        settle(world)
        kill(world)
        world.apns("DELETE", "/rules")
        restart(world)
        settle(world)

    world.apns("POST", "/rules", {"action": "stall"})
    world.exchange("POST", "/callback-faults", {"kind": "count_as_ok", "count": 1})
    red = verdict_of(world, tokens, "early-killed", mails=1, finish=killed)
    assert len(red.lost) == len(tokens[sorted(tokens)[0]]) and not red.good(), red
    world.exchange("DELETE", "/faults")
    print("ok: what an early OK loses in a crash is seen as lost")


def main():
    only_self_check = "--self-check" in sys.argv
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    kills = numbers[0] if numbers else 20
    seed = numbers[1] if len(numbers) > 1 else int(time.time()) % 1_000_000
    ack = next((argument for argument in sys.argv[1:] if argument in ("after-push", "after-journal", "auto")), "after-push")
    with make_world(9 if only_self_check else MAILBOXES + 1, "after-push" if only_self_check else ack) as world:
        world.start_standins()
        world.start_server()
        number = world.mailboxes  # one whose device secret we know
        tokens = register_all(world, number - 1, 0 if only_self_check else SECOND_DEVICES)
        secret = re.search(r"device secret (\S+)", world.device("subscribe", number).stdout).group(1)
        address = f"user{number}@{world.domain}"
        tokens[address] = [world.push_token(number)]
        settle(world)
        if ack == "after-push":
            self_check(world, tokens, (address, number, secret))
        if only_self_check:
            return 0
        settle(world)
        many_kills(world, tokens, kills, seed, ack)
        world.server.terminate()
        assert world.server.wait(30) == 0, world.log_of("server")
        world.run("store", "check", "--config", world.config)
    return 0


if __name__ == "__main__":
    sys.exit(main())
