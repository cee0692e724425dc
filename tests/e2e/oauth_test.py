#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""OAuth on real processes: an issuer that gives a new refresh token each time and revokes everything where a spent one comes
again; a server that is killed in the middle of a grant; what the operator sees of the keys.

  oauth_test.py [mails]     default 1000"""
import os
import re
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import World, wait_until  # noqa: E402

LIFETIME = 2  # seconds, of an access token
MAILBOXES = 4
TENANT = 'oauth_token_hosts = ["localhost"]\noauth_token_ports = [{port}]\noauth_reuse_grace_seconds = {grace}'


def oauth_world(grace, mailboxes=MAILBOXES, time_scale=1.0):
    config = "[notification]\ncallbacks_per_mailbox_per_minute_max = 10000\n"
    world = World(mailboxes=mailboxes, server_config=config, time_scale=time_scale)
    world.tenant_config = TENANT.format(port=world.token_port, grace=grace)
    return world


def subjects(world):
    """What the phones show, by subject: how often; and the pushes without content."""
    shown, after, bare = {}, 0, 0
    while True:
        answer = world.pushes(after)
        for push in answer["pushes"]:
            match = re.search(r"mail-\d+", push["body"] or "")
            if match:
                shown[match.group()] = shown.get(match.group(), 0) + 1
            elif push["pushType"] == "alert":
                bare += 1
        if answer["last"] == after or not answer["pushes"]:
            return shown, bare
        after = answer["last"]


def deliver(world, numbers):
    world.exchange("POST", "/deliver", {"mails": [
        {"address": f"user{number % world.mailboxes + 1}@example.com", "subject": f"mail-{number}"} for number in numbers]})


def subscribe_all(world):
    for number in range(1, world.mailboxes + 1):
        text = world.device("subscribe", number, auth="oauth").stdout
        assert "envelope split" in text, text
    wait_until("all subscriptions are active",
               lambda: world.exchange("GET", "/books")["heartbeatsAcknowledged"] >= world.mailboxes)


def many_lifetimes(mails):
    """Every mail once, over more than ten lifetimes of an access token; no spent refresh token is presented."""
    with oauth_world(grace=0) as world:
        world.start_standins()
        world.start_tokens(lifetime=LIFETIME)
        world.start_server()
        subscribe_all(world)
        rsa = world.metrics()['bellhop_rsa_operations_total{engine="scalar"}']
        begun, step, sent = time.monotonic(), 25, 0
        pace = 12 * LIFETIME / (mails / step)  # seconds between two batches: the tokens' lifetimes are of the real clock
        while sent < mails:
            deliver(world, range(sent, min(mails, sent + step)))
            sent += step
            wait_until("it is time for the next batch", lambda: time.monotonic() >= begun + pace * sent / step, 60)
        wait_until("every mail is pushed", lambda: len(subjects(world)[0]) >= mails, 60)
        took = time.monotonic() - begun
        shown, bare = subjects(world)
        books = world.tokens("GET", "/books")
        metrics = world.metrics()
        print(f"{len(shown)} of {mails} mails pushed, {sum(shown.values()) - len(shown)} twice, {bare} without content, in "
              f"{took:.1f} s = {took / LIFETIME:.1f} lifetimes; {books['grants']} grants, {books['rotations']} with a new "
              f"refresh token, {books['reuses']} reuses")
        assert len(shown) == mails and sum(shown.values()) == mails and bare == 0
        assert took >= 10 * LIFETIME
        assert books["reuses"] == 0 and books["revoked"] == 0 and books["graceUses"] == 0, books
        assert books["grants"] >= 10 * MAILBOXES and books["rotations"] == books["grants"], books
        assert metrics['bellhop_oauth_grants_total{result="ok"}'] == books["grants"], metrics
        assert metrics['bellhop_rsa_operations_total{engine="scalar"}'] == rsa, "a split envelope needs no private key"
        keys_in_use(world)


def keys_in_use(world):
    """The key that the callback URLs name must stay in the keyring, and the commands say so."""
    text = world.run("keyring", "status", "--config", world.config).stdout
    assert re.search(rf"key 1 +\d+ sealed fields, {MAILBOXES} callback URLs: current", text), text
    text = world.run("store", "check", "--config", world.config).stdout
    assert "no problem found" in text and f"{MAILBOXES} callback URLs" in text, text
    # A new current key: the old one is named by URLs, and must stay.
    with open(f"{world.folder}/keyring") as file:
        old = next(line for line in file.read().splitlines() if line.startswith("kek 1 "))
    config = world.config + ".rotated"
    with open(world.config) as source, open(config, "w") as target:
        target.write(source.read().replace("/keyring\"", "/keyring2\""))
    with open(f"{world.folder}/keyring2", "w") as file:
        file.write(old.replace(" current", "") + "\nkek 2 " + "A" * 43 + "= current\n")
    text = world.run("keyring", "status", "--config", config).stdout
    assert re.search(r"key 1 .* callback URLs: in use: must stay", text), text
    with open(f"{world.folder}/keyring2", "w") as file:
        file.write("kek 2 " + "A" * 43 + "= current\n")
    done = world.run("keyring", "status", "--config", config, check=False)
    assert done.returncode == 1 and "MISSING from the keyring" in done.stdout, done
    print("keyring status names the key that the URLs need, and misses it where it is gone")


def kill_mid_grant(world):
    """The server dies when the issuer has spent the refresh token and the answer is on its way."""
    world.tokens("POST", "/faults", {"kind": "hold", "count": 1})
    before = world.tokens("GET", "/books")["grants"]
    time_of_expiry = time.monotonic() + LIFETIME
    wait_until("the access token has expired", lambda: time.monotonic() > time_of_expiry)
    deliver(world, [1])
    wait_until("the issuer has spent the refresh token", lambda: world.tokens("GET", "/books")["grants"] == before + 1)
    world.server.send_signal(signal.SIGKILL)
    world.server.wait()
    world.start_server()


def killed_within_grace():
    with oauth_world(grace=60, mailboxes=1, time_scale=0.05) as world:
        world.start_standins()
        world.start_tokens(lifetime=LIFETIME, grace=60)
        world.start_server()
        subscribe_all(world)
        kill_mid_grant(world)
        # Exchange repeats the callback that was not answered.
        wait_until("the mail is pushed with its subject", lambda: subjects(world)[0].get("mail-1"), 60)
        books = world.tokens("GET", "/books")
        assert books["reuses"] == 0 and books["graceUses"] == 1, books
        time_of_expiry = time.monotonic() + LIFETIME
        wait_until("the access token has expired", lambda: time.monotonic() > time_of_expiry)
        deliver(world, [2])
        wait_until("the next mail is pushed after an ordinary grant", lambda: subjects(world)[0].get("mail-2"), 60)
        books = world.tokens("GET", "/books")
        assert books["reuses"] == 0 and books["graceUses"] == 1, books
        print("killed in the middle of a grant, issuer with a grace of 60 s: the mail arrived, 0 reuses")


def killed_without_grace():
    with oauth_world(grace=0, mailboxes=1, time_scale=0.05) as world:
        world.start_standins()
        world.start_tokens(lifetime=LIFETIME, grace=0)
        world.start_server()
        text = world.device("subscribe", 1, auth="oauth").stdout
        secret = re.search(r"device secret (\S+)", text).group(1)
        wait_until("the subscription is active",
                   lambda: world.exchange("GET", "/books")["heartbeatsAcknowledged"] >= 1)
        kill_mid_grant(world)
        wait_until("the mail is pushed without content", lambda: subjects(world)[1] >= 1, 60)
        assert world.tokens("GET", "/books")["reuses"] == 0
        assert "action resubscribe" in world.device("checkin", 1, secret=secret).stdout
        wait_until("the device is asked to subscribe again",
                   lambda: any(push["pushType"] == "background" for push in world.pushes()["pushes"]))
        world.device("subscribe", 1, secret=secret, auth="oauth")
        deliver(world, [2])
        wait_until("the next mail is pushed with its subject", lambda: subjects(world)[0].get("mail-2"), 60)
        books = world.tokens("GET", "/books")
        assert books["reuses"] == 0 and books["revoked"] == 0, books
        print("killed in the middle of a grant, issuer without a grace: 0 reuses, the device subscribed again")


def load_command():
    with oauth_world(grace=0) as world:
        world.start_standins()
        world.start_tokens()
        world.start_server()
        done = world.run("load", "--server", world.url, "--api-token", world.token, "--ca", f"{world.folder}/ca.pem",
                         "--ews-url", world.ews_url, "--exchange-control", f"127.0.0.1:{world.exchange_control}",
                         "--apns-control", f"127.0.0.1:{world.apns_control}",
                         "--token-control", f"127.0.0.1:{world.token_control}", "--auth", "oauth",
                         "--mailboxes", str(MAILBOXES), "--mails", "200",
                         "--concurrency", "200")  # more than one push per mail allows: the load keeps below that
        print(done.stdout.strip())
        assert world.tokens("GET", "/books")["reuses"] == 0


def main():
    many_lifetimes(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
    killed_within_grace()
    killed_without_grace()
    load_command()
    return 0


if __name__ == "__main__":
    sys.exit(main())
