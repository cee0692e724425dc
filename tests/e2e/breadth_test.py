#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real processes and an old Exchange that answers in gzip: items that are no mail, subjects that need cleaning, and an error
in a callback that kills the subscription, after which the server subscribes again by itself, or, where it may not, the device does;
both get what was missed."""
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import World, wait_until  # noqa: E402


def pushed(world, text):
    """The payloads of all pushes that hold the text."""
    return [push for push in world.pushes()["pushes"] if text in str(push)]


def deliver(world, **mail):
    world.exchange("POST", "/deliver", {"address": "user1@example.com", **mail})


def items(world):
    deliver(world, subject="Budget", senderName="Berta", element="MeetingRequest",
            itemClass="IPM.Schedule.Meeting.Request")
    push = wait_until("the meeting request is pushed", lambda: pushed(world, "Budget"))
    assert "meetingRequest" in str(push[0]) and "Berta" in str(push[0]), push
    deliver(world, subject="Buy bread", senderName="nobody", element="Task", itemClass="IPM.Task")
    push = wait_until("the task is pushed", lambda: pushed(world, "Buy bread"))
    assert "nobody" not in str(push[0]) and '"task"' in str(push[0]).replace("'", '"').replace("\\", ""), push
    deliver(world, subject="=?utf-8?Q?Gr=C3=BC=C3=9Fe?= \u202egnp.exe\r\nBcc: x", senderName="Ca\u200brl")
    push = wait_until("the subject is cleaned", lambda: pushed(world, "Gr\u00fc\u00dfe gnp.exe Bcc: x"))
    assert "Carl" in str(push[0]), push
    assert len(world.pushes()["pushes"]) == len({str(p) for p in world.pushes()["pushes"]})
    print("ok: a meeting request, a task without sender, an encoded and bidirectional subject")


def versions(world):
    answers = world.metrics()
    assert answers['bellhop_ews_answers_total{server="exchange2010"}'] >= 4, answers
    log = world.log_of("server")
    assert '"event":"ews_server"' in log and '"version":"14.3.513.0"' in log, log
    assert re.search(r'"event":"ews_request".*"client_request_id":"[0-9a-f-]{36}","request_id":"[0-9a-f]{16}"', log), log
    print("ok: Exchange 2010 was recognised, both request ids are in the log")


def kill_subscription(world):
    world.exchange("POST", "/notification-error", {"address": "user1@example.com", "code": "ErrorReadEventsFailed"})


def heals_itself(world, secret):
    kill_subscription(world)
    deliver(world, subject="Between two lives", senderName="Dora")
    wait_until("the server has subscribed anew", lambda: world.metrics()['bellhop_renewals_total{result="renewed"}'] == 1)
    wait_until("what arrived meanwhile is pushed", lambda: pushed(world, "Between two lives"))
    assert "resubscribe" not in world.device("checkin", 1, secret=secret).stdout
    deliver(world, subject="In the second life", senderName="Dora")
    wait_until("the new subscription works", lambda: pushed(world, "In the second life"))
    assert len(pushed(world, "Between two lives")) == 1 and len(pushed(world, "Buy bread")) == 1
    print("ok: a dead subscription was replaced without its device")


def dead_subscription(world, secret):
    before = world.exchange("GET", "/books")
    kill_subscription(world)
    wait_until("the error is answered Unsubscribe",
               lambda: world.exchange("GET", "/books")["unsubscribed"] == before["unsubscribed"] + 1)
    checked = world.device("checkin", 1, secret=secret).stdout
    assert "resubscribe" in checked, checked
    deliver(world, subject="Arrived meanwhile", senderName="Dora")
    world.device("subscribe", 1, secret=secret)
    wait_until("what arrived meanwhile is pushed", lambda: pushed(world, "Arrived meanwhile"))
    deliver(world, subject="And goes on", senderName="Dora")
    wait_until("the new subscription works", lambda: pushed(world, "And goes on"))
    assert len(pushed(world, "Arrived meanwhile")) == 1 and len(pushed(world, "Buy bread")) == 1
    print("ok: a dead subscription was ended, replaced, and caught up on")


def run(renewal, last):
    with World(server_config=f'[log]\nlevel = "debug"\n[renewal]\nenabled = {renewal}\n',
               exchange_options=("--exchange-version", "Exchange2010_SP2", "--gzip")) as world:
        world.start_standins()
        world.start_server()
        secret = re.search(r"[A-Za-z0-9_-]{43}", world.device("subscribe", 1).stdout).group(0)
        wait_until("the first status event is acknowledged",
                   lambda: world.exchange("GET", "/books")["heartbeatsAcknowledged"] >= 1)
        items(world)
        versions(world)
        last(world, secret)
        world.server.terminate()
        assert world.server.wait(20) == 0, world.log_of("server")


def main():
    run("true", heals_itself)
    run("false", dead_subscription)
    return 0


if __name__ == "__main__":
    sys.exit(main())
