#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server with very many subscriptions: how long it starts, what memory and rest it needs, and what a callback writes.

  scale_test.py [subscriptions]    default 20000; 1000000 for the table in the documents (needs about 5 GB of disk)

The bars (a start of at most 2 s with a warm page cache, at most 4 KB of file a mailbox) are asked of builds without sanitizers."""
import os
import re
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from books import CONFIG, Books, register_all, settle  # noqa: E402
from processes import World, wait_until  # noqa: E402

MAILBOXES = 20            # real ones beside the seeded
SANITIZED = os.environ.get("BELLHOP_SANITIZED") == "1"
START_S, FILE_BYTES = 2.0, 4096
REST_S = 10               # how long the CPU of a server without load is watched
TICK = os.sysconf("SC_CLK_TCK")


def status_kb(pid, name):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(rf"^{name}:\s+(\d+)", file.read(), re.M).group(1))


def cpu_ms(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / TICK


def written(pid):
    with open(f"/proc/{pid}/io") as file:
        fields = dict(line.split(": ") for line in file.read().splitlines())
    return int(fields["wchar"])


def warm(path):
    with open(path, "rb") as file:
        while file.read(1 << 24):
            pass


def stop(world):
    world.server.terminate()
    assert world.server.wait(60) == 0, world.log_of("server")[-3000:]


def start(world):
    """Seconds until ready, and RSS then."""
    begun = time.monotonic()
    world.start_server(token=False)
    return time.monotonic() - begun, status_kb(world.server.pid, "RssAnon")


def at_rest(world):
    """CPU milliseconds a second."""
    begun, before = time.monotonic(), cpu_ms(world.server.pid)
    wait_until("some time has passed", lambda: time.monotonic() - begun >= REST_S, 2 * REST_S)
    return (cpu_ms(world.server.pid) - before) / (time.monotonic() - begun)


def writes_by_kind(world, addresses):
    """Bytes that the server writes for a callback, by what is in it. One callback at a time: nothing is coalesced."""
    kinds = {"mail": lambda address: world.exchange("POST", "/deliver", {"address": address, "subject": "written"}),
             "badge": lambda address: world.exchange("POST", "/read", {"address": address})}
    figures, books = {}, Books(world).read()
    for kind, cause in kinds.items():
        before, callbacks = written(world.server.pid), with_events(books)
        for address in addresses:
            cause(address)
            settle(world)
            wait_until("hot state is written", quiet_for(world))
        callbacks = with_events(books) - callbacks
        figures[kind] = ((written(world.server.pid) - before) / max(1, callbacks), callbacks)
    return figures


def with_events(books):
    """Callbacks so far that were more than a heartbeat."""
    return sum(not attempt["heartbeat"] for attempt in books.read().attempts)


def quiet_for(world, seconds=0.2):
    last = [written(world.server.pid), time.monotonic()]

    def quiet():
        now = written(world.server.pid)
        if now != last[0]:
            last[:] = [now, time.monotonic()]
        return time.monotonic() - last[1] >= seconds
    return quiet


def heartbeat_writes(world, seconds=10):
    before, beats = written(world.server.pid), world.exchange("GET", "/books")["heartbeatsAcknowledged"]
    begun = time.monotonic()
    wait_until("heartbeats have come", lambda: time.monotonic() - begun >= seconds, 2 * seconds)
    beats = world.exchange("GET", "/books")["heartbeatsAcknowledged"] - beats
    assert beats > 0
    return (written(world.server.pid) - before) / beats, beats


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with World(mailboxes=MAILBOXES, cores=2, server_config=CONFIG, time_scale=0.001,
               exchange_options=("--ledger", "1000000")) as world:
        world.start_standins()
        world.start_server()
        rest_before, rss_before = at_rest(world), status_kb(world.server.pid, "RssAnon")
        stop(world)
        text = world.run("store", "seed", "--config", world.config, "--mailboxes", str(count), seconds=1800).stdout
        store = max((os.path.join(folder, name) for folder, _, names in os.walk(f"{world.folder}/data") for name in names),
                    key=lambda path: os.stat(path).st_blocks)
        size = os.stat(store).st_blocks * 512
        for _ in range(2):  # the first start warms what the second is measured with
            warm(store)
            seconds, rss = start(world)
            if _ == 0:
                stop(world)
        subscriptions = world.metrics()['bellhop_subscriptions{state="alive"}']
        assert subscriptions == count, subscriptions
        filled = status_kb(world.server.pid, "RssAnon")
        settled = [filled]
        wait_until("what the start does in the background is done", lambda: rests(world, settled), 120)
        rest = at_rest(world)
        print(f"{count} subscriptions: ready after {seconds:.2f} s; {size / count:.0f} bytes of file a mailbox ({text.strip().splitlines()[-1]})")
        print(f"private memory {rss / 1024:.1f} MiB when ready, {settled[0] / 1024:.1f} MiB at rest, "
              f"{(settled[0] - rss_before) * 1024 / count:.1f} bytes for each mailbox")
        print(f"CPU at rest {rest:.2f} ms a second, without subscriptions {rest_before:.2f} ms")
        tokens = register_all(world, MAILBOXES)
        settle(world)
        for kind, (size_each, callbacks) in {**writes_by_kind(world, sorted(tokens)), "heartbeat": heartbeat_writes(world)}.items():
            print(f"written for a callback with {kind}: {size_each:.0f} bytes ({callbacks} callbacks)")
        Books(world).read().complete()
        world.run("audit", "--socket", world.socket)
        if not SANITIZED:
            assert seconds <= START_S, f"ready after {seconds:.2f} s"
            assert count < 10_000 or size / count <= FILE_BYTES, f"{size / count:.0f} bytes a mailbox"
    return 0


def rests(world, settled):
    """Memory does not grow any more."""
    now = status_kb(world.server.pid, "RssAnon")
    same = now == settled[0]
    settled[0] = now
    begun = time.monotonic()
    if same:
        wait_until("a moment", lambda: time.monotonic() - begun >= 1)
    return same and status_kb(world.server.pid, "RssAnon") == now


if __name__ == "__main__":
    sys.exit(main())
