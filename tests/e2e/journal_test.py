#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The journal on real processes. APNs does not answer: Exchange hears OK all the same, the server is killed, and when APNs
is back every mail is shown once, without content. And with ack = "after-journal": OK first, then the push with content."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import World, wait_until  # noqa: E402

MAILBOXES = 3
JOURNAL = "[journal]\nretry_first_ms = 500\nretry_max_ms = 2000\n"


def subscribe_all(world):
    for number in range(1, MAILBOXES + 1):
        world.device("subscribe", number)


def deliver_all(world, subject):
    for number in range(1, MAILBOXES + 1):
        world.exchange("POST", "/deliver", {"address": f"user{number}@example.com", "subject": subject, "senderName": "Ann"})


def pushes_with(world, text):
    return [push for push in world.pushes()["pushes"] if text in str(push)]


def count(world, name):
    return world.metrics().get(name, 0)


def outage(world):
    subscribe_all(world)
    world.apns("POST", "/rules", {"action": "stall"})
    deliver_all(world, "Nobody may read this")
    wait_until("Exchange hears OK", lambda: world.exchange("GET", "/books")["newMailsAcknowledged"] == MAILBOXES)
    assert not world.pushes()["pushes"]
    assert count(world, "bellhop_journal_records") == MAILBOXES, world.metrics()
    assert count(world, "bellhop_events_handed_back_total") == 0
    world.server.kill()
    world.server.wait()
    world.start_server()
    wait_until("the records are taken up", lambda: count(world, "bellhop_journal_records") == MAILBOXES)
    assert count(world, "bellhop_events_accepted_total") == MAILBOXES, "those of the process before"
    world.apns("DELETE", "/rules")
    wait_until("every phone is told", lambda: count(world, "bellhop_journal_records") == 0)
    assert not pushes_with(world, "Nobody may read this")
    books = world.apns("GET", "/books")
    assert books["alerts"] - books["duplicates"] == MAILBOXES, books
    assert count(world, 'bellhop_device_outcomes_total{outcome="delivered.contentfree"}') == MAILBOXES
    print(f"ok: APNs silent, server killed: {MAILBOXES} mails acknowledged, and shown when APNs was back, content-free")


def after_journal(world):
    subscribe_all(world)
    deliver_all(world, "Lunch")
    wait_until("every mail is pushed with content", lambda: len(pushes_with(world, "Lunch")) == MAILBOXES)
    wait_until("no record is left", lambda: count(world, "bellhop_journal_records") == 0)
    assert count(world, 'bellhop_device_outcomes_total{outcome="journaled"}') == MAILBOXES
    assert count(world, 'bellhop_device_outcomes_total{outcome="delivered.apns"}') == MAILBOXES
    assert world.exchange("GET", "/books")["newMailsAcknowledged"] == MAILBOXES
    print("ok: after-journal: acknowledged over records, pushed with content, no record left")


def main():
    with World(mailboxes=MAILBOXES, cores=2, server_config=JOURNAL) as world:
        world.start_standins()
        world.start_server()
        outage(world)
    with World(mailboxes=MAILBOXES, server_config='[notification]\nack = "after-journal"\n') as world:
        world.start_standins()
        world.start_server()
        after_journal(world)


if __name__ == "__main__":
    main()
