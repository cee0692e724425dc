#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The RSA engines in the real server: each pushes every mail with its subject, and says in the metrics what it did.

What this CPU lacks is refused by name. Where it has a vector engine, a burst of mails for many mailboxes goes through its lanes."""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import BIN, World, wait_until  # noqa: E402

MAILBOXES = 12
ROUNDS = 16
NEEDS = {"avx512f": "avx512f", "avx512ifma": "avx512ifma"}  # engine: flag of /proc/cpuinfo


def cpu_flags():
    with open("/proc/cpuinfo") as file:
        return set(re.search(r"^flags\s*: (.*)$", file.read(), re.M).group(1).split())


def of(metrics, family, **labels):
    text = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return metrics[f"{family}{{{text}}}" if text else family]


def shown(world):
    """How often each mail was pushed, by its subject."""
    counts, after = {}, 0
    while True:
        page = world.pushes(after)
        for push in page["pushes"]:
            match = re.search(r"mail-\d+-\d+", push["body"] or "")
            if match:
                counts[match.group()] = counts.get(match.group(), 0) + 1
        if not page["pushes"]:
            return counts
        after = page["last"]


def serve(engine):
    with World(mailboxes=MAILBOXES, server_config=f'rsa_engine = "{engine}"') as world:
        world.start_standins()
        world.start_server()
        for number in range(1, MAILBOXES + 1):
            world.device("subscribe", number)
        wait_until("all subscriptions are active",
                   lambda: world.exchange("GET", "/books")["heartbeatsAcknowledged"] >= MAILBOXES, 60)
        # All mailboxes get one mail at once: their callbacks come together, and so do the decryptions.
        for turn in range(ROUNDS):
            world.exchange("POST", "/deliver", {"mails": [
                {"address": f"user{number}@example.com", "subject": f"mail-{turn}-{number}"}
                for number in range(1, MAILBOXES + 1)]})
            wait_until("the mails of this turn are pushed", lambda: len(shown(world)) == MAILBOXES * (turn + 1))
        assert set(shown(world).values()) == {1}, shown(world)
        metrics = world.metrics()
        scalar = of(metrics, "bellhop_rsa_operations_total", engine="scalar")
        vector = of(metrics, "bellhop_rsa_operations_total", engine="vector")
        chosen = [name for name in ("boringssl", "avx512f", "avx512ifma")
                  if of(metrics, "bellhop_rsa_engine_cores", engine=name) > 0]
        assert of(metrics, "bellhop_rsa_faults_total") == 0
        assert scalar + vector >= MAILBOXES * ROUNDS, (scalar, vector)
        assert of(metrics, "bellhop_rsa_queue_wait_seconds_count") == scalar + vector, metrics
        assert of(metrics, "bellhop_key_cache_keys") == MAILBOXES and of(metrics, "bellhop_key_cache_bytes") > MAILBOXES * 1000
        started = re.search(r'"event":"started".*"rsa_engine":"([a-z0-9]+)"', world.log_of("server")).group(1)
        assert chosen == [started], (chosen, started)
        if engine in NEEDS:
            assert started == engine and vector > 0, (started, vector)
        elif engine == "boringssl":
            assert started == "boringssl" and vector == 0, (started, vector)
        print(f"{engine}: {started}; {MAILBOXES * ROUNDS} mails pushed once each; operations: {vector:.0f} in lanes, "
              f"{scalar:.0f} one by one; {of(metrics, 'bellhop_key_cache_bytes') / MAILBOXES:.0f} bytes a cached key")


def refuse(engine):
    with World(server_config=f'rsa_engine = "{engine}"') as world:
        world.start_standins()
        world.run("keyring", "make", f"{world.folder}/keyring")
        world.write_config()
        done = subprocess.run([f"{BIN}/bellhopd", "--config", world.config], capture_output=True, text=True, timeout=30)
        assert done.returncode == 1, done
        assert "keys.rsa_engine: this CPU, or its operating system, has no AVX-512" in done.stderr, done
        assert 'use "auto"' in done.stderr, done
        print(f"{engine}: refused by name")


def main():
    flags = cpu_flags()
    for engine in ("boringssl", "auto", *NEEDS):
        if engine not in NEEDS or NEEDS[engine] in flags:
            serve(engine)
        else:
            refuse(engine)
    return 0


if __name__ == "__main__":
    sys.exit(main())
