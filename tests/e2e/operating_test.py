#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an operator does with a running server: status, users, devices, subscriptions; tables, JSON, pages, exit codes, and
what is said where there is no server or no permission."""
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import BIN, World, wait_until  # noqa: E402

MAILBOXES = 3


def operate(world, *arguments, check=True):
    return world.run(*arguments, "--socket", world.socket, check=check)


def listed(world, *arguments):
    return json.loads(operate(world, *arguments, "--json").stdout)


def user_id(number):
    return hashlib.sha256(f"user{number}@example.com".encode()).hexdigest()


def status_is_one_page(world):
    text = operate(world, "status").stdout
    print(text)
    for wanted in (r"^bellhop 0\.\d+\.\d+ +ready, up ", r"^ledger +balances: accepted 3 = delivered 3 ", r"^subscriptions +3 alive",
                   r"of 3 looked at: 3 active, 0 pending", r"^store +3 users", r"^key pairs ", r"^queues +0 events in flight",
                   r"^EWS +demo localhost:\d+ \(exchange\d+\): \d connections, 0 requests wait$",
                   r"^APNs +EXAMPLE123/KEYEXAMPLE production, ", r"^troubles "):
        assert re.search(wanted, text, re.M), (wanted, text)
    page = listed(world, "status")
    assert page["state"] == "ready" and page["ledger"]["balance"] == 0 and page["store"]["mapBytes"] > page["store"]["tableBytes"] > 0
    assert page["cores"] == world.cores and page["connections"]["ews"] >= 1


def users_come_in_pages(world):
    table = operate(world, "users").stdout.splitlines()
    assert len(table) == 1 + MAILBOXES and all(" active " in line and "localhost" in line for line in table[1:]), table
    whole = listed(world, "users")["users"]
    assert len(whole) == MAILBOXES and all(user["subscription"]["state"] == "active" for user in whole)
    seen, cursor = [], None
    while True:
        page = listed(world, "users", "--limit", "2", *(["--after", cursor] if cursor else []))
        assert len(page["users"]) <= 2
        seen += [user["id"] for user in page["users"]]
        cursor = page.get("next")
        if not cursor:
            break
    assert seen == [user["id"] for user in whole], (seen, whole)
    done = operate(world, "users", "--limit", "1")
    assert "there are more: --after " in done.stderr, done
    # By address, which is hashed by the command; by the hash itself.
    by_address = listed(world, "users", "--tenant", "demo", "--address", "USER1@example.com")["users"]
    by_hash = listed(world, "users", "--tenant", "demo", "--user-id", user_id(1))["users"]
    for users in (by_address, by_hash):
        assert len(users) == 1 and users[0]["deviceCount"] == 1, users
        users[0]["subscription"].pop("ageSeconds")  # a second may have begun between the two
    assert by_address == by_hash, (by_address, by_hash)
    for arguments in (["--tenant", "demo", "--address", "nobody@example.com"], ["--tenant", "nobody"],
                      ["--user", "00" * 32]):
        done = operate(world, "users", *arguments, check=False)
        assert done.returncode == 1 and done.stderr, done
    print("ok: users")


def devices_are_shown_and_removed(world, secret):
    all_devices = listed(world, "device", "list", "--all")["devices"]
    assert len(all_devices) == MAILBOXES
    who = ["--tenant", "demo", "--address", "user1@example.com"]
    mine = listed(world, "device", "list", *who)["devices"]
    assert len(mine) == 1 and mine[0]["topic"] == "com.example.mail" and mine[0]["pushToken"] == "proven", mine
    shown = operate(world, "device", "show", *who, "--device-id", "device-1").stdout
    assert re.search(rf"^id +{mine[0]['id']}$", shown, re.M), shown
    assert listed(world, "device", "show", mine[0]["id"]) == mine[0]
    done = operate(world, "device", "show", *who, "--device-id", "other", check=False)
    assert done.returncode == 1 and "no such device" in done.stderr, done
    done = operate(world, "device", "show", "0" * 32, check=False)
    assert done.returncode == 1 and "no device has this id" in done.stderr, done

    unsubscribed = world.exchange("GET", "/books")["unsubscribed"]
    text = operate(world, "device", "remove", mine[0]["id"]).stdout
    assert "its user's last" in text, text
    assert listed(world, "device", "list", "--all")["devices"] == [d for d in all_devices if d["id"] != mine[0]["id"]]
    assert "status unknown" in world.device("checkin", 1, secret=secret).stdout
    world.exchange("POST", "/deliver", {"address": "user1@example.com", "subject": "too late"})
    wait_until("the next callback is answered Unsubscribe",
               lambda: world.exchange("GET", "/books")["unsubscribed"] == unsubscribed + 1)
    assert not [push for push in world.pushes()["pushes"] if "too late" in str(push)]
    assert '"event":"admin_device_removed"' in world.log_of("server")
    done = operate(world, "device", "remove", mine[0]["id"], check=False)
    assert done.returncode == 1, done
    print("ok: devices; a removed one gets no push, and Exchange is told")


def subscriptions_are_shown_and_ended(world, secret):
    who = ["--tenant", "demo", "--address", "user2@example.com"]
    table = operate(world, "subscription", "list").stdout.splitlines()
    assert len(table) == MAILBOXES and all(" active " in line for line in table[1:]), table  # one mailbox has left
    mine = listed(world, "subscription", "list", *who)["subscriptions"]
    assert len(mine) == 1 and mine[0]["ewsHost"] == f"localhost:{world.ews_port}" and mine[0]["logon"] == {"refusals": 0}, mine
    assert listed(world, "subscription", "list", "--state", "lost") == {"subscriptions": []}
    assert len(listed(world, "subscription", "list", "--host", f"localhost:{world.ews_port}")["subscriptions"]) == MAILBOXES - 1
    shown = operate(world, "subscription", "show", mine[0]["id"]).stdout
    assert re.search(r"^logon\.refusals +0$", shown, re.M), shown

    unsubscribed = world.exchange("GET", "/books")["unsubscribed"]
    text = operate(world, "subscription", "end", mine[0]["id"]).stdout
    assert "Unsubscribe" in text, text
    done = operate(world, "subscription", "end", mine[0]["id"], check=False)
    assert done.returncode == 1 and "no live subscription" in done.stderr, done
    checked = world.device("checkin", 2, secret=secret).stdout
    assert "status unknown" in checked and "action resubscribe" in checked, checked
    world.exchange("POST", "/deliver", {"address": "user2@example.com", "subject": "ended"})
    wait_until("the next callback is answered Unsubscribe",
               lambda: world.exchange("GET", "/books")["unsubscribed"] == unsubscribed + 1)
    assert '"event":"admin_subscription_ended"' in world.log_of("server")
    world.device("subscribe", 2, secret=secret)
    wait_until("the device has subscribed again",
               lambda: [s["state"] for s in listed(world, "subscription", "list", *who)["subscriptions"]] == ["active"])
    world.exchange("POST", "/deliver", {"address": "user2@example.com", "subject": "again"})
    wait_until("its mail is pushed", lambda: [push for push in world.pushes()["pushes"] if "again" in str(push)])
    print("ok: subscriptions; an ended one is answered Unsubscribe, and its device subscribes again")


def a_story_is_told(world):
    """Of a user, a device, a subscription and an outcome: what happened, when, and what comes next."""
    who = ["--tenant", "demo", "--address", "user1@example.com"]
    text = operate(world, "explain", *who).stdout
    steps = [re.search(rf"^20\d\d-\S+Z +{step} .*$", text, re.M) for step in ("user", "device", "subscription", "push", "callback", "heartbeat")]
    assert all(steps) and [step.start() for step in steps] == sorted(step.start() for step in steps), text
    assert "[outcome delivered.apns, device " in steps[3].group() and "told of 1 new mails, 0 of them known" in steps[4].group(), text
    assert "is active. No push waits in the journal." in text, text
    told = listed(world, "explain", *who, "--device-id", "device-1")
    assert told["kind"] == "device" and [step["what"] for step in told["chain"]].count("push") == 1, told
    subscription = next(step["subscription"] for step in told["chain"] if step["what"] == "subscription")
    assert listed(world, "explain", subscription)["user"] == told["user"]
    outcome = operate(world, "explain", "delivered.apns").stdout
    assert re.search(r"^3 since start$", outcome, re.M) and f"user {told['user']}" in outcome, outcome
    for arguments, code in ((["0" * 32], 1), (["Not.An.Outcome"], 2), ([], 2), (["ok", *who], 2)):
        done = operate(world, "explain", *arguments, check=False)
        assert done.returncode == code and done.stderr and not done.stdout, done
    audit = operate(world, "audit").stdout
    assert re.search(r"^all +3 +0 +3 +0 +0 +0 +0 +0$", audit, re.M) and "every accepted event is accounted for" in audit, audit
    assert listed(world, "audit")["balanced"] is True
    print("ok: a user's, a device's, a subscription's and an outcome's story; nothing is lost")


def a_refused_password_is_seen(world, secret):
    """The logon rule in the listing, once Exchange refuses what the subscription carries."""
    world.exchange("POST", "/faults", {"kind": "unauthorized", "operation": "get_item", "count": 1})
    world.exchange("POST", "/deliver", {"address": "user3@example.com", "subject": "refused"})
    found = wait_until("the subscription is shown as refused",
                       lambda: listed(world, "subscription", "list", "--state", "refused")["subscriptions"])
    assert len(found) == 1 and found[0]["logon"]["refusals"] == 1 and found[0]["logon"]["nextAttempt"], found
    assert "refused 1 times" in operate(world, "subscription", "list", "--state", "refused").stdout
    assert listed(world, "status")["subscriptions"]["credentialsRefused"] == 1
    print("ok: refused credentials are seen")


def a_seeded_store_is_listed_whole():
    """More rows than one look of the server takes, from a filter that few of them pass."""
    with World() as world:
        world.tenant_config = ""
        world.start_standins()
        world.run("keyring", "make", f"{world.folder}/keyring")
        world.write_config()
        with open(world.config, "a") as file:
            file.write('[[tenant]]\nid = "small"\nname = "Small"\news_hosts = ["mail.example.test"]\n')
        config = world.config
        world.run("store", "seed", "--config", config, "--mailboxes", "9000", "--key-pairs", "1", "--tenant", "demo")
        world.run("store", "seed", "--config", config, "--mailboxes", "3", "--key-pairs", "1", "--tenant", "small")
        world.write_config = lambda: None
        world.start_server(token=False)
        assert len(listed(world, "users", "--all")["users"]) == 9003
        assert len(listed(world, "device", "list", "--all")["devices"]) == 9003
        assert len(listed(world, "users", "--tenant", "small")["users"]) == 3
        assert len(listed(world, "subscription", "list", "--tenant", "small")["subscriptions"]) == 3
        page = listed(world, "status")
        assert page["subscriptions"]["alive"] == 9003 and page["subscriptions"]["lookedAt"] == 1024
        # Those devices are as from before names were kept.
        assert "devices_unnamed" not in world.log_of("server")
        with open(world.config) as file:
            config = file.read()
        with open(world.config, "w") as file:
            file.write(config + "[policy]\nenabled = true\ndry_run = true\n")
        world.run("reload", "--socket", world.socket)
        wait_until("the log counts the devices without a name",
                   lambda: "devices_unnamed" in (log := world.log_of("server")) and '9003' in log.split("devices_unnamed")[1].split("\n")[0], 10)
        assert "9003 devices have not told what they are called" in world.run("compliance", "status", "--socket", world.socket).stdout
        longest = world.metrics()["bellhop_loop_turn_longest_seconds"]
        print(f"ok: 9,003 mailboxes listed whole, longest turn {longest * 1000:.1f} ms")


def without_a_server_it_says_so():
    with tempfile.TemporaryDirectory(prefix="bellhop-e2e-") as folder:
        os.chmod(folder, 0o755)
        dead, deaf = f"{folder}/dead.sock", f"{folder}/deaf.sock"
        ended = socket.socket(socket.AF_UNIX)
        ended.bind(dead)
        ended.close()
        silent = socket.socket(socket.AF_UNIX)
        silent.bind(deaf)
        silent.listen()
        cases = {f"{folder}/absent.sock": "there is no such socket", dead: "nobody listens", deaf: "no answer within 1 s"}
        for path, wanted in cases.items():
            done = subprocess.run([f"{BIN}/bellhop", "status", "--socket", path, "--timeout", "1"], capture_output=True, text=True, timeout=60)
            assert done.returncode == 1 and wanted in done.stderr and path in done.stderr and not done.stdout, done
        if os.geteuid() == 0:
            os.chmod(deaf, 0o660)
            done = subprocess.run([f"{BIN}/bellhop", "users", "--socket", deaf], capture_output=True, text=True, timeout=60,
                                  user=65534, group=65534, extra_groups=[])
            assert done.returncode == 1 and "you may not use this socket" in done.stderr, done
        silent.close()
    print("ok: no server, no permission and no answer are told apart")


def main():
    without_a_server_it_says_so()
    with World(mailboxes=MAILBOXES) as world:
        world.start_standins()
        world.start_server()
        secrets = [re.search(r"device secret (\S+)", world.device("subscribe", number).stdout)[1] for number in range(1, MAILBOXES + 1)]
        wait_until("all subscriptions are active",
                   lambda: world.exchange("GET", "/books")["heartbeatsAcknowledged"] >= MAILBOXES)
        for number in range(1, MAILBOXES + 1):
            world.exchange("POST", "/deliver", {"address": f"user{number}@example.com", "subject": f"mail {number}"})
        wait_until("all are pushed", lambda: len(world.pushes()["pushes"]) >= MAILBOXES)
        wait_until("all are answered", lambda: world.metrics()["bellhop_events_in_flight"] == 0)
        status_is_one_page(world)
        users_come_in_pages(world)
        a_story_is_told(world)
        devices_are_shown_and_removed(world, secrets[0])
        subscriptions_are_shown_and_ended(world, secrets[1])
        a_refused_password_is_seen(world, secrets[2])
    a_seeded_store_is_listed_whole()
    return 0


if __name__ == "__main__":
    sys.exit(main())
