#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Notifications in bulk through real processes: every mail is pushed exactly once, and what one costs.

  load_test.py [mails] [mailboxes]     default 1000 mails, 20 mailboxes; 10000 for the table in the documents

BELLHOP_LOAD_CORES: the server's cores (1); BELLHOP_LOAD_CONCURRENCY: mails under way at the same time (64);
BELLHOP_LOAD_HTTP2: 1 brings devices and callbacks over HTTP/2; BELLHOP_LOAD_RSA_ENGINE: the server's keys.rsa_engine (auto); BELLHOP_LOAD_PIN: "0,1:2,3" keeps the server on CPUs 0 and 1, stand-ins and load on 2 and 3.

Prints CPU time of the server's core threads per notification, memory, io_uring_enter calls per notification and the longest turn."""
import os
import re
import sys
import typing

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import World, wait_until  # noqa: E402


def core_cpu_us(pid):
    """CPU time of the reactor threads, in microseconds."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm") as file:
            if not file.read().startswith("bellhop-core"):
                continue
        with open(f"/proc/{pid}/task/{task}/schedstat") as file:
            total += int(file.read().split()[0]) // 1000
    return total


def resident_kb(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))


class Figures(typing.NamedTuple):
    """Of one run. The core threads' CPU for a notification; RSA operations in a batch; the share of them in lanes."""
    cpu_us: float
    batch_mean: float
    lanes_share: float


def run(mails, mailboxes, rsa_engine):
    cores = int(os.environ.get("BELLHOP_LOAD_CORES", "1"))
    pin = [list(map(int, cpus.split(","))) for cpus in os.environ.get("BELLHOP_LOAD_PIN", "").split(":") if cpus]
    server_cpus, other_cpus = pin or (None, None)
    config = f'rsa_engine = "{rsa_engine}"\n'  # of [keys]
    config += "[limits]\nsubscribe_per_address_per_minute = 100000\ngetpublickey_per_address_per_minute = 100000\n"
    config += "[notification]\ncallbacks_per_mailbox_per_minute_max = 10000\n"
    with World(mailboxes=mailboxes, keep_payloads=False, cores=cores, server_config=config,
               server_cpus=server_cpus, other_cpus=other_cpus,
               http2=os.environ.get("BELLHOP_LOAD_HTTP2") == "1") as world:
        world.start_standins()
        world.start_server()
        wait_until("keys are made ahead", lambda: world.metrics()["bellhop_key_pool_keys"] >= min(mailboxes, 16), 60)
        common = ["load", "--server", world.url, "--api-token", world.token, "--ca", f"{world.folder}/ca.pem",
                  "--ews-url", world.ews_url, "--exchange-control", f"127.0.0.1:{world.exchange_control}",
                  "--apns-control", f"127.0.0.1:{world.apns_control}", "--password", world.password,
                  "--mailboxes", str(mailboxes), "--keep-registered", *world.version,
                  "--concurrency", os.environ.get("BELLHOP_LOAD_CONCURRENCY", "64")]
        warm = world.run(*common, "--mails", str(max(100, mails // 10)))
        print(warm.stdout.strip())
        before, cpu = world.metrics(), core_cpu_us(world.server.pid)
        done = world.run(*common, "--mails", str(mails))
        after, cpu = world.metrics(), core_cpu_us(world.server.pid) - cpu
        print(done.stdout.strip())

        def grown(prefix):
            return sum(v - before.get(k, 0) for k, v in after.items() if k.startswith(prefix))
        delivered = grown('bellhop_device_outcomes_total{outcome="delivered.')
        rsa = grown("bellhop_rsa_operations_total")
        print(f"mails {mails}, delivered {delivered:.0f}, skipped as duplicate {grown(SKIPPED):.0f}, RSA operations {rsa:.0f}")
        print(f"core threads: {cpu / mails:.0f} us CPU per notification; "
              f"io_uring_enter {grown('bellhop_uring_enters_total') / mails:.2f} per notification; "
              f"longest turn {after['bellhop_loop_turn_longest_seconds'] * 1000:.2f} ms; RSS {resident_kb(world.server.pid) / 1024:.1f} MiB")
        assert delivered >= mails, "a mail was not delivered"
        batches, in_lanes = grown("bellhop_rsa_batch_size_count"), grown('bellhop_rsa_operations_total{engine="vector"')
        engine = [name for name, cores in after.items() if name.startswith("bellhop_rsa_engine_cores") and cores > 0]
        print(f"{' '.join(engine)}: {rsa / max(batches, 1):.2f} RSA operations in a batch, {in_lanes:.0f} in lanes, "
              f"faults {grown('bellhop_rsa_faults_total'):.0f}")
        assert after["bellhop_events_in_flight"] == 0
    return Figures(cpu / mails, rsa / max(batches, 1), in_lanes / max(rsa, 1))


def main():
    mails = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    mailboxes = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    run(mails, mailboxes, os.environ.get("BELLHOP_LOAD_RSA_ENGINE", "auto"))
    return 0


SKIPPED = 'bellhop_device_outcomes_total{outcome="skipped.duplicate'

if __name__ == "__main__":
    sys.exit(main())
