#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A policy over real processes: mail is pushed to devices that are allowed, stops within two seconds of a change, callbacks of a
blocked mailbox are answered Unsubscribe, a wipe removes a device, data survives kill -9, and a watched file is followed.

  tests/e2e/compliance_test.py [DEVICES]     so many more devices in the bulk; 20,000 without it
"""
import json
import os
import shlex
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import World, wait_until  # noqa: E402

MAILBOXES = 3


def operate(world, *arguments, check=True):
    return world.run(*arguments, "--socket", world.socket, check=check)


def answered(world, *arguments):
    return json.loads(operate(world, *arguments, "--json").stdout)


def data(world, name, lines):
    path = os.path.join(world.folder, name)
    with open(path + ".new", "w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")
    os.rename(path + ".new", path)
    return path


def decision(world, device, point="push"):
    return answered(world, "compliance", "explain", device, "--point", point)["decisions"][0]


def source_state(world):
    return answered(world, "compliance", "status")["tenants"][0]["state"]


def reconfigure(world, more, after=None):
    if after:
        world.server_config = world.server_config.replace(after, after + more)
    else:
        world.server_config += more
    world.write_config()
    operate(world, "reload")


def deliver(world, number, subject):
    world.exchange("POST", "/deliver", {"address": f"user{number}@example.com", "subject": subject})


def pushed(world, subject):
    return [push for push in world.pushes()["pushes"] if subject in str(push)]


def unsubscribes(world):
    return world.metrics().get('bellhop_callbacks_total{outcome="unsubscribe.blocked"}', 0)


def a_bulk_is_taken(world, lines):
    state = answered(world, "compliance", "status")
    assert not state["enabled"] and state["tenants"][0]["state"] == "fresh" and state["tenants"][0]["devices"] == 0, state
    assert decision(world, "device-1")["reason"] == "off"
    change = answered(world, "compliance", "put", data(world, "all.jsonl", lines))
    assert change["lines"] == change["devices"] == len(lines) and change["held"] == 0, change
    print(f"ok: a bulk of {change['lines']} devices is taken, in {change['milliseconds']} ms")


def the_policy_comes_into_force(world):
    reconfigure(world, '\n[policy]\nenabled = true\n[[policy.rule]]\nname = "managed"\nmanaged = "no"\n')
    for number in range(1, MAILBOXES + 1):
        assert decision(world, f"DEVICE-{number}")["verdict"] == "allow"
    nobody = decision(world, "nobody")
    assert nobody["verdict"] == "block" and nobody["rule"] == "managed" and nobody["becauseUnknown"], nobody
    deliver(world, 1, "before")
    wait_until("the push to device 1", lambda: pushed(world, "before"))
    print("ok: what is allowed is pushed to, what is unknown is blocked")


def a_delta_blocks(world):
    before = unsubscribes(world)
    begin = time.monotonic()
    operate(world, "compliance", "patch", data(world, "delta.jsonl", [{"deviceId": "device-1", "managed": False}]))
    found = decision(world, "device-1")
    took = time.monotonic() - begin
    assert found["verdict"] == "block" and found["rule"] == "managed" and found["toLift"] and took < 2, (found, took)
    deliver(world, 1, "afterwards")
    wait_until("Unsubscribe", lambda: unsubscribes(world) > before)
    assert not pushed(world, "afterwards")
    told = operate(world, "explain", "--tenant", "demo", "--address", "user1@example.com").stdout
    assert 'kept out by the policy (rule "managed"' in told, told
    refused = world.device("subscribe", 1, check=False)
    assert refused.returncode != 0 and "blocked" in refused.stderr + refused.stdout, refused
    print(f"ok: blocked {took:.2f} s after the call began; the callback was answered Unsubscribe, and it cannot subscribe")
    operate(world, "compliance", "patch", data(world, "delta.jsonl", [{"deviceId": "device-1", "managed": True}]))
    world.device("subscribe", 1)
    deliver(world, 1, "let in again")
    wait_until("the push to device 1", lambda: pushed(world, "let in again"))
    print("ok: unblocked, it subscribes and is pushed to")


def lift(world, device):
    """With the command that explain names, as a shell takes it."""
    assert decision(world, device)["reason"] == "blocked"
    words = shlex.split(decision(world, device)["toLift"].split("bellhop ", 1)[1])
    assert words == ["device", "unblock", "--device-id", device, "--tenant", "demo"], words
    operate(world, *words)
    assert decision(world, device)["reason"] != "blocked"


def names_are_held(world, lines):
    operate(world, "device", "block", "--device-id", "device-2", "--tenant", "demo")
    assert decision(world, "device-2")["reason"] == "blocked"
    held = [line if line["deviceId"] != "device-2" else {"deviceId": "device-2", "override": "none", "managed": True} for line in lines]
    change = answered(world, "compliance", "put", data(world, "all.jsonl", held))
    assert change["held"] >= 1, change
    assert decision(world, "device-2")["reason"] == "blocked"
    lift(world, "device-2")
    odd = "it's $ID"
    operate(world, "device", "block", "--device-id", odd, "--tenant", "demo")
    lift(world, odd)
    # One that only the gateway would meet.
    operate(world, "device", "block", "--device-id", "ApplUNKNOWN", "--tenant", "demo")
    assert decision(world, "applunknown", "activesync")["reason"] == "blocked"
    provision = answered(world, "compliance", "explain", "ApplUNKNOWN", "--point", "activesync", "--command", "Provision")
    assert provision["decisions"][0]["verdict"] == "allow", provision
    print("ok: a block by name stays until it is lifted by name")


def a_wipe_stays(world, lines):
    operate(world, "device", "wipe", "--device-id", "device-3", "--tenant", "demo")
    users = answered(world, "users", "--all")["users"]
    assert len(users) == MAILBOXES - 1, users
    world.server.kill()
    world.server.wait()
    world.start_server(token=False)
    assert decision(world, "device-3")["reason"] == "wiped"
    assert decision(world, "device-1")["verdict"] == "allow"
    tenant = answered(world, "compliance", "status")["tenants"][0]
    assert tenant["devices"] == len(lines) and tenant["held"] == 2, tenant
    refused = world.device("subscribe", 3, check=False)
    assert refused.returncode != 0, refused
    print("ok: what was said is there after kill -9, and a wiped device stays out")


def faults_are_told(world):
    bad = data(world, "bad.jsonl", [{"deviceId": "device-1", "managed": False}, {"deviceId": "b", "manged": True}])
    for how in ("put", "patch"):
        done = operate(world, "compliance", how, bad, check=False)
        assert done.returncode == 1 and "device 2" in done.stderr and "manged" in done.stderr, done
    assert decision(world, "device-1")["verdict"] == "allow", "all lines or none"
    for lines in ([{"deviceId": "device-1", "managed": False}, {"deviceId": "x", "otherIds": ["DEVICE-1"], "managed": True}],
                  [{"deviceId": "x", "otherIds": ["DEVICE-1"], "managed": True}, {"deviceId": "device-1", "managed": False}]):
        done = operate(world, "compliance", "put", data(world, "bad.jsonl", lines), check=False)
        assert done.returncode == 1 and "device 2: named already by an earlier line" in done.stderr, done
        assert "device-1" not in done.stderr.lower(), done
    for account in ("nobody", "EXAMPLE\\user1", "user1@example.com "):
        for how in ("put", "patch"):
            done = operate(world, "compliance", how, data(world, "bad.jsonl", [{"deviceId": "device-1", "account": account}]), check=False)
            assert done.returncode == 1 and 'device 1: "account" is no address; accepted: user@domain' in done.stderr, done
    assert decision(world, "device-1")["verdict"] == "allow"
    reconfigure(world, "delta_devices_max = 2\n", "[policy]\n")
    done = operate(world, "compliance", "patch", data(world, "bad.jsonl", [{"deviceId": f"x{n}"} for n in range(3)]), check=False)
    assert done.returncode == 1 and "(2); policy.delta_devices_max" in done.stderr and "policy.devices_max" not in done.stderr, done
    print("ok: a line that cannot be used refuses all, and is named")


def a_file_is_watched(world):
    watched = data(world, "watched.jsonl", [{"deviceId": "device-1", "managed": False}])
    reconfigure(world, f'\n[[policy.source]]\nkind = "file"\nfile = "{watched}"\ninterval_seconds = 1\n')
    wait_until("the file's data", lambda: decision(world, "device-1")["verdict"] == "block", 20)
    with open(watched, "w", encoding="utf-8") as file:
        file.write('{"deviceId":"device-1","managed":')
    wait_until("the complaint", lambda: source_state(world) == "broken", 20)
    assert decision(world, "device-1")["rule"] == "managed", "the last data counts"
    assert watched in operate(world, "compliance", "status").stdout
    # More than a socket holds: it is refused before it is read.
    all_of_them = data(world, "all.jsonl", [{"deviceId": f"Appl{n:012}", "model": "x" * 100} for n in range(100_000)])
    done = operate(world, "compliance", "put", all_of_them, check=False)
    assert done.returncode == 1 and 'tenant "demo" is fed by [[policy.source]] of kind "file"' in done.stderr, done
    operate(world, "compliance", "patch", data(world, "delta.jsonl", [{"deviceId": "device-1", "override": "allow"}]))
    assert decision(world, "device-1")["reason"] == "override_allow", "single devices are overridden"
    operate(world, "compliance", "patch", data(world, "delta.jsonl", [{"deviceId": "device-1", "override": "none"}]))
    os.remove(watched)
    wait_until("the state", lambda: source_state(world) == "unreachable", 20)
    assert decision(world, "device-1")["rule"] == "managed", "the last data counts"
    data(world, "watched.jsonl", [{"deviceId": "device-1", "managed": True}])
    wait_until("the new data", lambda: decision(world, "device-1")["verdict"] == "allow", 20)
    assert source_state(world) == "fresh"
    print("ok: a watched file is followed; broken or missing, it changes nothing")


def nobody_is_named(world):
    """Neither addresses nor what devices are called: the log has fingerprints, the store hashes."""
    with open(os.path.join(world.folder, "data", "store"), "rb") as file:
        store = file.read()
    for secret in ("@example.com", "user1", "device-1", "device-3", "ApplUNKNOWN", "Appl000000000001"):
        assert secret not in world.log_of("server"), secret
        assert secret.encode() not in store, secret
    print("ok: neither log nor store names a device or an account")


def main():
    devices = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    lines = [{"deviceId": f"Appl{n:012}", "managed": True, "model": f"Phone {n % 40}"} for n in range(devices)]
    lines += [{"deviceId": f"device-{n}", "account": f"user{n}@example.com", "managed": True} for n in range(1, MAILBOXES + 1)]
    with World(mailboxes=MAILBOXES) as world:
        world.start_standins()
        world.start_server()
        for number in range(1, MAILBOXES + 1):
            world.device("subscribe", number)
        wait_until("all subscriptions are active",
                   lambda: world.exchange("GET", "/books")["heartbeatsAcknowledged"] >= MAILBOXES)
        a_bulk_is_taken(world, lines)
        the_policy_comes_into_force(world)
        a_delta_blocks(world)
        names_are_held(world, lines)
        a_wipe_stays(world, lines)
        faults_are_told(world)
        a_file_is_watched(world)
        nobody_is_named(world)
    return 0


if __name__ == "__main__":
    sys.exit(main())
