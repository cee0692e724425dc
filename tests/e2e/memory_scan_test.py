#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Looks for a mailbox password in every readable page of the running server, in its log and in its store.

Positive control: while a notification is under way (Exchange is slow to answer), the password must be found; otherwise the
scan proves nothing. At rest it must be nowhere, in none of its spellings. The password comes from outside the server's
binary: it is made here. What callback URLs carry must not stay either. All that twice: devices and callbacks over HTTP/1.1
and over HTTP/2."""
import base64
import glob
import os
import secrets
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import SKIP, World, wait_until  # noqa: E402

SLOW_MS = 2500


def spellings(password):
    raw = password.encode()
    found = {"raw": raw, "hex": raw.hex().encode(), "utf-16": password.encode("utf-16-le"),
             "json": b'"password":"' + raw, "basic": b":" + raw}
    for shift in range(3):
        # base64 at each alignment, without the characters that depend on the neighbours
        text = base64.b64encode(b"x" * shift + raw)
        found[f"base64+{shift}"] = text[4 if shift else 0:-4]
    return found


def scan(pid, needles):
    """Names of the spellings that lie in readable memory of the process."""
    hits = {}
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, mode = line.split()[:2]
            if "r" not in mode or "[vvar" in line or "[vsyscall" in line:
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            at = start
            tail = b""
            while at < end:
                size = min(1 << 22, end - at)
                try:
                    memory.seek(at)
                    block = memory.read(size)
                except OSError:
                    block = b""  # a guard page, or the store's sparse map beyond its file
                if not block:
                    break
                window = tail + block
                for name, needle in needles.items():
                    if needle in window:
                        hits.setdefault(name, line.split()[-1] if len(line.split()) > 5 else f"anonymous {span}")
                tail = window[-200:]
                at += len(block)
    return hits


def file_hits(folder, needles):
    hits = []
    for path in glob.glob(f"{folder}/data/**", recursive=True) + [f"{folder}/server.log"]:
        if os.path.isfile(path):
            with open(path, "rb") as file:
                content = file.read(1 << 28)
            hits += [(path, name) for name, needle in needles.items() if needle in content]
    return hits


def token_needles(user, family):
    """How each access token of a user, and each refresh token of a family, of the token stand-in begins."""
    said = base64.urlsafe_b64encode(f"https://standin.example.com/\n{user}\n".encode()).rstrip(b"=")
    line = base64.urlsafe_b64encode(family.to_bytes(8, "big")).rstrip(b"=")
    return {"access token": said[:-2], "refresh token": b"rt-" + line[:-1],
            "base64 of the access token": base64.b64encode(said)[:40]}


def oauth():
    """The same for OAuth: tokens are in memory while Exchange is asked, and nowhere at rest; nor in the store's file."""
    with World(mailboxes=1) as world:
        world.tenant_config = f'oauth_token_hosts = ["localhost"]\noauth_token_ports = [{world.token_port}]'
        world.start_standins()
        world.start_tokens(lifetime=1)
        world.start_server()
        world.tokens("POST", "/tokens", {"user": "nobody@example.com"})  # so that the family is not 0, which is many bytes
        world.device("subscribe", 1, auth="oauth")
        needles = token_needles("user1@example.com", 1)
        wait_until("the subscription is active", lambda: world.exchange("GET", "/books")["heartbeatsAcknowledged"] >= 1)
        world.exchange("POST", "/deliver", {"address": "user1@example.com", "subject": "warm-up"})
        wait_until("the first push", lambda: world.pushes()["pushes"])
        world.exchange("POST", "/faults", {"kind": "none", "operation": "get_item", "delayMs": SLOW_MS, "count": 1})
        world.exchange("POST", "/deliver", {"address": "user1@example.com", "subject": "mid-flight"})
        found = wait_until("the access token is in memory while Exchange is asked (positive control)",
                           lambda: scan(world.server.pid, needles), seconds=SLOW_MS / 1000)
        print("mid-flight: found", ", ".join(f"{name} in {where}" for name, where in found.items()))
        acknowledged = 2
        for kind in ("html", "server_error", "truncated", "invalid_grant"):
            world.tokens("POST", "/faults", {"kind": kind, "count": 1})
            world.exchange("POST", "/deliver", {"address": "user1@example.com", "subject": kind})
            acknowledged += 1
            wait_until(f"the mail is acknowledged after {kind}",
                       lambda: world.exchange("GET", "/books?address=user1@example.com")["newMailsAcknowledged"] == acknowledged)
        turns = world.metrics()["bellhop_loop_turns_total"]
        wait_until("the server's next tick", lambda: world.metrics()["bellhop_loop_turns_total"] != turns)
        left = scan(world.server.pid, needles)
        assert not left, f"tokens are still in memory at rest: {left}"
        files = file_hits(world.folder, needles)
        assert not files, f"tokens are in files: {files}"
        print("at rest: no token in any readable page, in the log or in the store")


def callback_secrets(world):
    """The credentials in the URLs of all callbacks, as they stand there."""
    urls = [one["url"] for number in (1, 2, 3)
            for one in world.exchange("GET", f"/subscriptions?address=user{number}@example.com")["subscriptions"]]
    assert len(urls) >= 3, urls
    return {f"creds of {i}": url.split("creds=")[1].encode() for i, url in enumerate(urls)}


def scan_server(http2):
    password = "Pw-" + secrets.token_urlsafe(18)
    needles = spellings(password)
    with World(password=password, http2=http2) as world:
        world.start_standins()
        world.start_server()
        for number in (1, 2, 3):
            world.device("subscribe", number)
        wait_until("all subscriptions are active",
                   lambda: world.exchange("GET", "/books")["heartbeatsAcknowledged"] >= 3)
        world.exchange("POST", "/deliver", {"address": "user1@example.com", "subject": "warm-up"})
        wait_until("the first push", lambda: world.pushes()["pushes"])

        world.exchange("POST", "/faults", {"kind": "none", "operation": "get_item", "delayMs": SLOW_MS, "count": 1})
        world.exchange("POST", "/deliver", {"address": "user2@example.com", "subject": "mid-flight"})
        found = wait_until("the password is in memory while Exchange is asked (positive control)",
                           lambda: scan(world.server.pid, needles), seconds=SLOW_MS / 1000)
        print("mid-flight: found as", ", ".join(f"{name} in {where}" for name, where in found.items()))

        # Errors take other ways through the code: a slow Exchange that ends by the deadline, a broken answer, a 401.
        for number, kind in enumerate(("none", "garbage", "unauthorized"), 1):
            fault = {"kind": kind, "operation": "get_item", "count": 1, "delayMs": 6000 if kind == "none" else 0}
            world.exchange("POST", "/faults", fault)
            world.exchange("POST", "/deliver", {"address": "user3@example.com", "subject": kind})
            wait_until(f"the mail is acknowledged after {kind}",
                       lambda: world.exchange("GET", "/books?address=user3@example.com")["newMailsAcknowledged"] == number)
        wait_until("nothing is in flight", lambda: world.metrics()["bellhop_events_in_flight"] == 0)
        # One second of rest: timers fire, pools settle.
        turns = world.metrics()["bellhop_loop_turns_total"]
        wait_until("the server's next tick", lambda: world.metrics()["bellhop_loop_turns_total"] != turns)

        version = 'bellhop_http_requests_total{version="%d"}' % (1 + (not http2))
        assert world.metrics()[version] == 0, "the other version of HTTP was used"
        needles |= callback_secrets(world)
        left = scan(world.server.pid, needles)
        assert not left, f"the password is still in memory at rest: {left}"
        files = file_hits(world.folder, needles)
        assert not files, f"the password is in files: {files}"
        print(f"HTTP/{2 if http2 else 1.1}, at rest: in no readable page, not in the log, not in the store")


def main():
    if not os.access("/proc/self/mem", os.R_OK) or os.geteuid() != 0:
        print("skipped: reading another process's memory needs root")
        return SKIP
    for http2 in (False, True):
        scan_server(http2)
    oauth()
    return 0


if __name__ == "__main__":
    sys.exit(main())
