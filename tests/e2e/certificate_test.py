#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Client certificates on real processes: an Exchange that demands them, alone and beside a password; what is left of them in
memory, log and store; a push app that logs on to APNs by certificate.

  certificate_test.py [mails]     default 1000"""
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from memory_scan_test import SLOW_MS, file_hits, scan  # noqa: E402
from processes import World, wait_until  # noqa: E402

MAILBOXES = 4
FILE_PASSWORD = "a-password-of-a-file-90210"
CONFIG = """[notification]
callbacks_per_mailbox_per_minute_max = 10000
"""


def bundle(world, number, address=None):
    path = f"{world.folder}/user{number}.p12"
    world.run("stand-in", "certificate", "--folder", world.folder, "--address", address or f"user{number}@example.com",
              "--password", FILE_PASSWORD, "--out", path)
    return path


def subscribe(world, number, auth, path=None, password=FILE_PASSWORD, check=True):
    return world.device("subscribe", number, "--pkcs12", path or bundle(world, number), "--pkcs12-password", password,
                        auth=auth, check=check)


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


def many_mails(auth, mails):
    with World(mailboxes=MAILBOXES, server_config=CONFIG, exchange_options=("--logon", auth)) as world:
        world.start_standins()
        world.start_server()
        for number in range(1, MAILBOXES + 1):
            text = subscribe(world, number, auth).stdout
            assert "envelope split" in text, text
        wait_until("all subscriptions are active",
                   lambda: world.exchange("GET", "/books")["heartbeatsAcknowledged"] >= MAILBOXES)
        sent, step = 0, 50
        while sent < mails:
            world.exchange("POST", "/deliver", {"mails": [
                {"address": f"user{number % MAILBOXES + 1}@example.com", "subject": f"mail-{number}"}
                for number in range(sent, min(mails, sent + step))]})
            sent += step
            wait_until("the batch is pushed", lambda: world.exchange("GET", "/books")["newMailsAcknowledged"] >= min(mails, sent), 60)
        shown, bare = subjects(world)
        books = world.exchange("GET", "/books")
        print(f"{auth}: {len(shown)} of {mails} mails pushed, {sum(shown.values()) - len(shown)} twice, {bare} without "
              f"content; {books['certified']} requests with a certificate, {books['unauthorized']} refused")
        assert len(shown) == mails and sum(shown.values()) == mails and bare == 0
        assert books["certified"] == sum(books["requests"].values()) and books["unauthorized"] == 0, books
        connections = world.metrics()['bellhop_connections{kind="ews"}']
        assert connections <= MAILBOXES * 2, connections
        # After a short rest the connections are gone, and with them all that came of the certificates.
        wait_until("the connections of users are closed", lambda: world.metrics()['bellhop_connections{kind="ews"}'] == 0, 30)
        left_behind(world)
        refused(world, auth)


def private_number(world):
    """The 32 bytes that matter of user1's P-256 key."""
    pem = subprocess.run(["openssl", "pkcs12", "-in", f"{world.folder}/user1.p12", "-nodes", "-nocerts", "-passin",
                          f"pass:{FILE_PASSWORD}"], capture_output=True, check=True).stdout
    der = subprocess.run(["openssl", "pkcs8", "-topk8", "-nocrypt", "-outform", "DER"], input=pem, capture_output=True,
                         check=True).stdout
    return der[der.index(b"\x04\x20") + 2:][:32]


def left_behind(world):
    """Neither the file's password nor the key is in memory, log or store once all is quiet."""
    needles = {"password": FILE_PASSWORD.encode(), "password as PKCS#12 hashes it": FILE_PASSWORD.encode("utf-16-be"),
               "key": private_number(world)}
    assert not file_hits(world.folder, needles), file_hits(world.folder, needles)
    if os.environ.get("BELLHOP_SANITIZED") == "1" or os.geteuid() != 0:
        return
    wait_until("password and key are in no readable page", lambda: not scan(world.server.pid, needles), 20)
    world.exchange("POST", "/faults", {"kind": "none", "operation": "get_item", "delayMs": SLOW_MS, "count": 1})
    world.exchange("POST", "/deliver", {"address": "user1@example.com", "subject": "mail-slow"})
    found = wait_until("the key is in memory while Exchange is asked (positive control)",
                       lambda: scan(world.server.pid, needles), seconds=SLOW_MS / 1000)
    assert set(found) == {"key"}, found
    wait_until("password and key are in no readable page again", lambda: not scan(world.server.pid, needles), 20)
    print("neither the password of the file nor the key is left in memory, log or store")


def refused(world, auth):
    """A wrong file password, a file that is none, and a certificate of nobody's mailbox."""
    done = subscribe(world, 1, auth, f"{world.folder}/user1.p12", password="wrong", check=False)
    assert done.returncode == 1 and "credentials" in done.stderr, done
    with open(f"{world.folder}/junk.p12", "w") as file:
        file.write("no PKCS#12")
    done = subscribe(world, 2, auth, f"{world.folder}/junk.p12", check=False)
    assert done.returncode == 1 and "PKCS#12 malformed" in done.stderr, done
    stranger = bundle(world, 99, "nobody@example.com")
    done = subscribe(world, 3, auth, stranger, check=False)
    assert done.returncode == 1 and "credentials" in done.stderr, done
    # The others are not touched.
    world.exchange("POST", "/deliver", {"address": "user4@example.com", "subject": "mail-999999"})
    wait_until("a mail of another is pushed", lambda: subjects(world)[0].get("mail-999999"))


def load_command(auth):
    with World(mailboxes=MAILBOXES, server_config=CONFIG, exchange_options=("--logon", auth)) as world:
        world.start_standins()
        world.start_server()
        done = world.run("load", "--server", world.url, "--api-token", world.token, "--ca", f"{world.folder}/ca.pem",
                         "--ews-url", world.ews_url, "--exchange-control", f"127.0.0.1:{world.exchange_control}",
                         "--apns-control", f"127.0.0.1:{world.apns_control}", "--folder", world.folder, "--auth", auth,
                         "--mailboxes", str(MAILBOXES), "--mails", "200",
                         "--concurrency", "200")  # more than one push per mail allows: the load keeps below that
        print(done.stdout.strip())


def apns_by_certificate():
    app = 'certificate_file = "{0}/app.pem"\nprivate_key_file = "{0}/app-key.pem"'
    with World(mailboxes=1) as world:
        world.app_config = app.format(world.folder)
        world.start_standins()
        world.start_server()
        world.device("subscribe", 1)
        wait_until("the subscription is active",
                   lambda: world.exchange("GET", "/books")["heartbeatsAcknowledged"] >= 1)
        world.exchange("POST", "/deliver", {"address": "user1@example.com", "subject": "mail-1"})
        wait_until("the mail is pushed", lambda: subjects(world)[0].get("mail-1"))
        books = world.apns("GET", "/books")
        assert books["certified"] == books["requests"] and books["tokensSeen"] == 0, books
        routes = json.loads(world.run("status", "--json", "--socket", world.socket).stdout)["apns"]["routes"]
        assert {route["certificate"] for route in routes} == {f"{world.folder}/app.pem"}, routes
        assert f"{world.folder}/app.pem production" in world.run("status", "--socket", world.socket).stdout
        metrics = world.metrics()
        left = metrics[f'bellhop_certificate_expiry_seconds{{use="apns",file="{world.folder}/app.pem"}}']
        assert 364 * 86400 < left <= 365 * 86400, left
        assert f'bellhop_certificate_expiry_seconds{{use="listener",file="{world.folder}/server.pem"}}' in metrics
        print("a push app with a certificate: delivered without a provider token; its end is in the metrics")


def main():
    mails = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for auth in ("certificate", "dual"):
        many_mails(auth, mails)
    load_command("certificate")
    apns_by_certificate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
