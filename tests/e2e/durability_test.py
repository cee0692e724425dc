#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each OK that rests on a journal record leaves after the record is on the disk. APNs is dead, so every OK that Exchange gets
rests on one; the server runs under strace, which says when the page with the record was written and when fdatasync returned.

With syncing switched off (preload/no_sync.c) the same check must fail.

  durability_test.py [mails]    default 12"""
import json
import os
import re
import shutil
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from books import CONFIG, Books, register_all, settle  # noqa: E402
from processes import PRELOAD, SKIP, World, wait_until  # noqa: E402

MAILBOXES = 4
TRACED = "fdatasync,fsync,pwrite64,pwritev,writev"
# A leaf node of the table `journal` in a page of LMDB: the size of its key (28), then mailbox, device key and item hash.
KEY = rb"\x1c\x00(....)%s(.{8})"


class Call:
    def __init__(self, name, begun, ended, data):
        self.name, self.begun, self.ended, self.data = name, begun, ended, data


def unescape(text):
    """The bytes of all strings in strace -xx's arguments."""
    return b"".join(bytes.fromhex(one.replace("\\x", "")) for one in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', text))


def calls_of(path, store):
    """The calls on files below the folder, in the order of their ends; times in nanoseconds of the wall clock."""
    store = "".join(f"\\x{byte:02x}" for byte in store.encode())  # as -xx writes paths too
    open_calls, calls = {}, []
    with open(path, errors="replace") as file:
        for line in file:
            match = re.match(r"^(\d+) +(\d+)\.(\d{6}) (.*)$", line)
            if not match:
                continue
            thread, text = match.group(1), match.group(4)
            at = int(match.group(2)) * 1_000_000_000 + int(match.group(3)) * 1000
            if text.startswith("<... "):
                name, begun, before = open_calls.pop(thread, (None, 0, ""))
                text = before + text
            else:
                begun, name = at, text.split("(", 1)[0]
                if text.endswith("<unfinished ...>"):
                    open_calls[thread] = (name, at, text)
                    continue
            took = re.search(r"<(\d+)\.(\d{6})>$", text)
            if not took or name not in TRACED.split(",") or store not in text:
                continue
            ended = begun + int(took.group(1)) * 1_000_000_000 + int(took.group(2)) * 1000
            calls.append(Call(name, begun, ended, unescape(text) if "write" in name else b""))
    return sorted(calls, key=lambda call: call.ended)


def durable_since(calls, device):
    """By item hash: when the first commit with the device's journal record was on the disk; None where it never was."""
    pattern = re.compile(KEY.replace(b"%s", re.escape(device)), re.DOTALL)
    since = {}
    for index, call in enumerate(calls):
        for match in pattern.finditer(call.data):
            item = match.group(2)
            if item in since:
                continue
            later = calls[index + 1:]
            synced = next((one for one in later if one.name in ("fdatasync", "fsync") and one.begun >= call.ended), None)
            # Then the root of the tree, in one of the first two pages, over a descriptor of its own that is always synchronous.
            rooted = synced and next((one for one in later if "write" in one.name and one.begun >= synced.ended), None)
            since[item] = rooted.ended if rooted else None
    return since


def run(mails, preload=None):
    """[(OK of a mail, when its record was durable or None)], nanoseconds of the wall clock."""
    with World(mailboxes=MAILBOXES, server_config=CONFIG, time_scale=0.05, exchange_options=("--ledger", "100000"),
               apns_options=("--time-scale", "1")) as world:
        world.start_standins()
        world.start_server()
        tokens = register_all(world, MAILBOXES)
        settle(world)
        devices = {address: bytes.fromhex(device_of(world, address)) for address in tokens}
        world.server.terminate()
        assert world.server.wait(30) == 0
        trace = f"{world.folder}/trace"
        environment = ["-E", f"LD_PRELOAD={preload}"] if preload else []
        world.start_server(token=False, under=("strace", "-D", "-f", "--seccomp-bpf", "-ttt", "-T", "-y", "-xx", "-s", "1000000", *environment,
                                               "-e", f"trace={TRACED}", "-o", trace))
        offset = time.time_ns() - time.monotonic_ns()
        world.apns("POST", "/outage", {"kind": "refuse", "minutes": 60})
        books = Books(world).read()
        for number in range(mails):
            address = sorted(tokens)[number % MAILBOXES]
            world.exchange("POST", "/deliver", {"address": address, "subject": f"durable-{number}"})
        settle(world, 120)
        drift = abs(time.time_ns() - time.monotonic_ns() - offset)
        assert drift < 1_000_000, f"the wall clock was set by {drift} ns meanwhile: run again"
        books.read()
        resting = [mail for mail in books.by_item.values() if mail.subject.startswith("durable-")]
        assert len(resting) == mails and not [push for push in books.pushes if push["body"].startswith("durable-")]
        assert all(mail.acknowledged() for mail in resting), "every mail must have its OK while APNs is dead"
        world.server.kill()
        world.server.wait()
        wait_until("strace has written all", lambda: "+++ killed by SIGKILL +++" in open(trace, errors="replace").read())
        calls = calls_of(trace, f"{world.folder}/data/")
        assert [call for call in calls if "write" in call.name], "strace saw no write of the store"
        return match_up(resting, calls, devices, offset)


def device_of(world, address):
    text = world.run("device", "list", "--tenant", "demo", "--address", address, "--json", "--socket", world.socket).stdout
    devices = json.loads(text)["devices"]
    assert len(devices) == 1, devices
    return devices[0]["id"]


def match_up(resting, calls, devices, offset):
    """The mails of one device in the order of their OKs, its records in the order in which they became durable."""
    pairs = []
    for address, device in devices.items():
        oks = sorted(mail.acknowledged() + offset for mail in resting if mail.mailbox == address)
        since = durable_since(calls, device)
        assert len(since) >= len(oks), f"{len(oks)} OKs rest on {len(since)} journal records"
        never = [None] * sum(at is None for at in since.values())
        durable = sorted(at for at in since.values() if at is not None) + never
        pairs += zip(oks, durable)
    return pairs


def violations(pairs):
    return [(ok, durable) for ok, durable in pairs if durable is None or durable >= ok]


def main():
    if not shutil.which("strace"):
        print("needs strace")
        return SKIP
    mails = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    pairs = run(mails)
    assert len(pairs) == mails and not violations(pairs), violations(pairs)
    margins = sorted(ok - durable for ok, durable in pairs)
    print(f"ok: {mails} OKs rest on journal records, each after its fdatasync; the nearest {margins[0] / 1000:.0f} us after it")
    unsynced = run(mails, preload=f"{PRELOAD}/libno_sync.so")
    assert len(violations(unsynced)) == mails, f"without syncing the check must fail: {violations(unsynced)}"
    print(f"ok: with syncing switched off the check fails for {mails} of {mails}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
