#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bellhopd is down for twenty minutes of Exchange's time. Subscriptions whose heartbeat interval is half an hour are still
there, and every mail of the time is pushed once Exchange repeats; those of a minute are dropped by Exchange, and once their
silence has lasted for bellhop too, their devices are asked to subscribe again, and catch up.

  downtime_test.py     takes about three minutes: bellhop's own clock is not scaled"""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from books import CONFIG, Books, Verdict, register_all, settle, what  # noqa: E402
from processes import World, wait_until  # noqa: E402

SCALE = 0.02          # twenty minutes are 24 seconds
PATIENT, HASTY = 6, 3  # mailboxes by heartbeat interval: 30 minutes, 1 minute
MAILS = 4              # for each, while the server is down


def subscribe_hasty(world, tokens):
    world.server.terminate()
    assert world.server.wait(30) == 0
    beat_each_minute(world)
    world.start_server(token=False)
    hasty = []
    for number in range(PATIENT + 1, PATIENT + HASTY + 1):
        world.device("subscribe", number)
        hasty.append(f"user{number}@{world.domain}")
        tokens[hasty[-1]] = [world.push_token(number)]
    settle(world)
    return hasty


def beat_each_minute(world):
    """From the next start on; the configuration has its [ews] already."""
    write = world.write_config

    def with_frequency():
        write()
        with open(world.config) as file:
            text = file.read()
        with open(world.config, "w") as file:
            file.write(text.replace("[ews]\n", "[ews]\nstatus_frequency_minutes = 1\n"))
    world.write_config = with_frequency


def asked(books, token):
    return [push for push in books.pushes if push["deviceToken"] == token and push["pushType"] == "background" and what(push) == "resubscribe"]


def main():
    with World(mailboxes=PATIENT + HASTY, cores=2, server_config=CONFIG, time_scale=SCALE,
               exchange_options=("--ledger", "100000"), apns_options=("--pushes-kept", "100000")) as world:
        world.start_standins()
        world.start_server()
        tokens = register_all(world, PATIENT)
        patient = sorted(tokens)
        hasty = subscribe_hasty(world, tokens)
        books = Books(world).read()
        world.server.terminate()
        assert world.server.wait(30) == 0
        down = time.monotonic()
        world.exchange("POST", "/deliver", {"mails": [{"address": address, "subject": f"down-{address}-{number}"}
                                                      for number in range(MAILS) for address in patient + hasty]})
        wait_until("twenty minutes of Exchange's time are over", lambda: time.monotonic() - down >= 20 * 60 * SCALE, 60)
        dead = world.exchange("GET", "/books")["dead"]
        assert dead == HASTY, f"{dead} subscriptions died"
        up = time.monotonic()
        world.start_server(token=False)
        settle(world, 60)
        books.read()
        caught_up = Verdict(books, {address: tokens[address] for address in patient}, "down-user", after_push=True)
        # Those of the hasty mailboxes are not there yet: nobody may count them as lost before their devices were asked.
        missing = [one for one in caught_up.lost if one[0] not in {tokens[a][0] for a in patient}]
        assert not missing and not caught_up.lost and not caught_up.wrong_device, caught_up
        print(f"ok: {len(patient)} mailboxes caught up {time.monotonic() - up:.0f} s after the start, {MAILS} mails each")
        begun = time.monotonic()
        wait_until("the devices of the silent mailboxes are asked",
                   lambda: books.read() and all(asked(books, tokens[address][0]) for address in hasty), 240)
        print(f"ok: {len(hasty)} devices asked to subscribe after {time.monotonic() - begun:.0f} s of silence")
        wrongly = [address for address in patient if asked(books, tokens[address][0])]
        assert not wrongly, f"asked although Exchange calls: {wrongly}"
        for number in range(PATIENT + 1, PATIENT + HASTY + 1):
            world.device("subscribe", number, secret=None)
        settle(world)
        world.exchange("POST", "/deliver", {"mails": [{"address": address, "subject": f"again-{address}"} for address in hasty]})
        settle(world)
        books.read()
        verdict = Verdict(books, tokens, "again-user")
        assert verdict.good(), verdict
        whole = Verdict(books, tokens, "down-user", after_push=False)
        assert not whole.lost and not whole.wrong_device, f"what came while there was no subscription: {whole}"
        print(f"ok: they subscribed again and caught up: {whole}")
        world.run("audit", "--socket", world.socket)
    return 0


if __name__ == "__main__":
    sys.exit(main())
