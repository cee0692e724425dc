#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Subscriptions renewed at heartbeats, on real processes: new key pairs for everybody while mails come, a new current key of
the keyring by a reload while the server serves, a device that is wiped. Exchange's heartbeats come every few seconds.

  renewal_test.py [mails]     default 60"""
import base64
import os
import re
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import World, wait_until  # noqa: E402

MAILBOXES = 4
OAUTH = {3, 4}  # the others log on with a password
SCALE = 0.002   # a status frequency of 30 minutes becomes 3.6 s
TENANT = 'oauth_token_hosts = ["localhost"]\noauth_token_ports = [{port}]'


def shown(world):
    """How often each mail was shown on its phone."""
    counts, after = {}, 0
    while True:
        answer = world.pushes(after)
        for push in answer["pushes"]:
            if match := re.search(r"mail-\d+", push["body"] or ""):
                counts[match.group()] = counts.get(match.group(), 0) + 1
        if answer["last"] == after or not answer["pushes"]:
            return counts
        after = answer["last"]


def deliver(world, number):
    world.exchange("POST", "/deliver", {"address": f"user{number % MAILBOXES + 1}@example.com", "subject": f"mail-{number}"})


def deliver_until(world, what, done, first, seconds=90):
    """Mails come, one every 50 ms, until something has happened. Returns the number of the next mail."""
    number, end = first, time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"did not happen within {seconds} s: {what}"
        deliver(world, number)
        number += 1
        time.sleep(0.05)  # the pace of the mails
    return number


def everything_arrived(world, mails):
    wait_until("every mail is pushed", lambda: len(shown(world)) >= mails, 60)
    counts = shown(world)
    assert len(counts) == mails and sum(counts.values()) == mails, {k: v for k, v in counts.items() if v != 1}


def settled(world):
    """One live subscription for each mailbox, here and at Exchange, whose old ones were answered Unsubscribe."""
    wait_until("the old subscriptions have ended at Exchange",
               lambda: world.exchange("GET", "/books")["subscriptions"] == MAILBOXES, 60)
    metrics = world.metrics()
    assert metrics['bellhop_subscriptions{state="alive"}'] == MAILBOXES, metrics
    assert "no problem found" in world.run("store", "check", "--config", world.config).stdout


def rotate_keys(world, mails):
    done = world.run("keys", "rotate", "--socket", world.socket, check=False)
    assert done.returncode == 2 and "say whose" in done.stderr, done
    done = world.run("keys", "rotate", "--all", "--tenant", "demo", "--socket", world.socket, check=False)
    assert done.returncode == 2, done
    text = world.run("keys", "rotate", "--tenant", "demo", "--address", "nobody@example.com", "--socket", world.socket,
                     check=False)
    assert text.returncode == 1 and "no such user" in text.stderr, text
    text = world.run("keys", "rotate", "--all", "--socket", world.socket).stdout
    assert f"{MAILBOXES} users are to get new key pairs; {MAILBOXES} subscriptions" in text, text
    number = deliver_until(
        world, "everybody has a new pair and one subscription",
        lambda: (m := world.metrics())["bellhop_keys_rotated_total"] == MAILBOXES and m["bellhop_hand_overs_total"] >= MAILBOXES,
        mails)
    everything_arrived(world, number)
    settled(world)
    metrics = world.metrics()
    assert metrics['bellhop_renewals_done_total{reason="key"}'] == MAILBOXES, metrics
    assert "resubscribe" not in world.log_of("server"), "no device took part"
    print(f"keys rotate --all: {MAILBOXES} new pairs, {number - mails} mails meanwhile, each shown once")
    return number


def rotate_keyring(world, mails):
    path = f"{world.folder}/keyring"
    with open(path) as file:
        old = file.read().replace(" current", "")
    os.chmod(path, 0o600)
    new = "kek 2 " + base64.b64encode(bytes(range(32))).decode() + " current\n"
    with open(path, "w") as file:
        file.write(old.rstrip("\n") + "\n" + new)
    os.chmod(path, 0o400)
    world.run("reload", "--socket", world.socket)
    number = deliver_until(world, "what URLs named is renewed",
                           lambda: world.metrics()['bellhop_renewals_done_total{reason="kek"}'] == len(OAUTH) and
                           world.metrics()["bellhop_hand_overs_total"] >= MAILBOXES + len(OAUTH), mails)
    wait_until("all is sealed anew", lambda: "key 1 " not in used_keys(world), 60)
    everything_arrived(world, number)
    settled(world)
    # The old key may go, and a server without it starts.
    os.chmod(path, 0o600)
    with open(path, "w") as file:
        file.write(new)
    os.chmod(path, 0o400)
    world.run("reload", "--socket", world.socket)
    deliver(world, number)
    everything_arrived(world, number + 1)
    assert world.metrics()["bellhop_fields_resealed_total"] > MAILBOXES * 2
    print("keyring: sealed anew online, URLs renewed, the old key taken out by a reload; each mail shown once")
    return number + 1


def used_keys(world):
    text = world.run("keyring", "status", "--config", world.config).stdout
    return "\n".join(line for line in text.splitlines() if "may retire" not in line)


def wipe(world):
    user = ["--tenant", "demo", "--address", "user1@example.com"]
    text = world.run("device", "block", *user, "--device-id", "device-1", "--socket", world.socket).stdout
    assert "is blocked" in text, text
    wait_until("Exchange is told at the next callback",
               lambda: world.metrics()['bellhop_callbacks_total{outcome="unsubscribe.blocked"}'] >= 1)
    world.run("device", "unblock", *user, "--device-id", "device-1", "--socket", world.socket)
    text = world.run("device", "wipe", *user, "--device-id", "device-1", "--socket", world.socket).stdout
    assert "removed as wiped" in text and "its user's last" in text, text
    assert "no problem found" in world.run("store", "check", "--config", world.config).stdout
    print("device block ends the subscription at once, device wipe removes its user")


def main():
    mails = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    config = "[notification]\ncallbacks_per_mailbox_per_minute_max = 10000\n"
    with World(mailboxes=MAILBOXES, server_config=config, time_scale=SCALE) as world:
        world.tenant_config = TENANT.format(port=world.token_port)
        world.start_standins()
        world.start_tokens(lifetime=3600)
        world.start_server()
        for number in range(1, MAILBOXES + 1):
            world.device("subscribe", number, auth="oauth" if number in OAUTH else "basic")
        wait_until("all subscriptions are active",
                   lambda: world.exchange("GET", "/books")["heartbeatsAcknowledged"] >= MAILBOXES)
        for number in range(mails):
            deliver(world, number)
        everything_arrived(world, mails)
        mails = rotate_keys(world, mails)
        mails = rotate_keyring(world, mails)
        wipe(world)
    print("ok")


main()
