#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One user's whole journey on real processes, from the command line: token, register, subscribe, mail, push at APNs,
unsubscribe, the next callback answered Unsubscribe. Then what a stranger may send to the callback address."""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import World, wait_until  # noqa: E402

STATUS_SAMPLE = "exchangelib-send-notification-status.xml"
NO_WORK = ("bellhop_rsa_operations_total", "bellhop_ews_requests_total", "bellhop_apns_pushes_total")


def curl(world, url, body=None, headers=(), raw=()):
    """(status, body) of one request by curl, over TLS. Of HTTP/2, http2_test.py tells."""
    command = ["curl", "-sS", "--http1.1", "--cacert", f"{world.folder}/ca.pem", "-o", "-", "-w", "\n%{http_code}", url, *raw]
    if body is not None:
        command += ["--data-binary", "@-", "-H", "content-type: text/xml; charset=utf-8"]
    for header in headers:
        command += ["-H", header]
    done = subprocess.run(command, input=None if body is None else body.encode(), capture_output=True, timeout=60)
    text = done.stdout.decode(errors="replace")
    answer, _, status = text.rpartition("\n")
    return int(status or 0), answer


def status_event(subscription, previous, watermark):
    return f"""<?xml version="1.0" encoding="utf-8"?>
<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>
<m:SendNotification xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages"
 xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><m:ResponseMessages>
<m:SendNotificationResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode><m:Notification>
<t:SubscriptionId>{subscription}</t:SubscriptionId><t:PreviousWatermark>{previous}</t:PreviousWatermark>
<t:MoreEvents>false</t:MoreEvents><t:StatusEvent><t:Watermark>{watermark}</t:Watermark></t:StatusEvent>
</m:Notification></m:SendNotificationResponseMessage></m:ResponseMessages></m:SendNotification></soap:Body></soap:Envelope>"""


def subscription_of(world, number):
    answer = world.exchange("GET", f"/subscriptions?address=user{number}@example.com")
    return answer["subscriptions"][-1]


def sample_with(world, subscription):
    """The documented status notification with the live SubscriptionId and watermark put in; None without test data."""
    folder = os.environ.get("BELLHOP_TEST_DATA")
    if not folder:
        return None, None
    with open(f"{folder}/ews-samples/{STATUS_SAMPLE}") as file:
        sample = file.read()
    live = re.sub(r"(<t:SubscriptionId>)[^<]*", r"\g<1>" + subscription["id"], sample)
    live = re.sub(r"(<t:(?:Previous)?Watermark>)[^<]*", r"\g<1>" + subscription["watermark"], live)
    return sample, live


def work_of(world):
    return {name: value for name, value in world.metrics().items() if name.startswith(NO_WORK)}


def journey(world):
    world.device("getpublickey", 1)
    printed = world.device("subscribe", 1).stdout
    secret = re.search(r"[A-Za-z0-9_-]{43}", printed)
    assert secret, printed
    secret = secret.group(0)
    wait_until("the first status event is acknowledged",
               lambda: world.exchange("GET", "/books")["heartbeatsAcknowledged"] >= 1)
    assert "active" in world.device("checkin", 1, secret=secret).stdout

    world.exchange("POST", "/deliver", {"address": "user1@example.com", "subject": "Übung macht den Meister",
                                        "senderName": "Postbote"})
    pushes = wait_until("the mail is pushed", lambda: [p for p in world.pushes()["pushes"] if "Postbote" in str(p)])
    assert len(pushes) == 1 and "Übung macht den Meister" in str(pushes[0]), pushes
    print("ok: token, register, subscribe, mail, push")
    return secret


def callbacks(world):
    subscription = subscription_of(world, 1)
    url = subscription["url"].replace("127.0.0.1", "localhost")
    sample, live = sample_with(world, subscription)
    if sample is None:
        live = status_event(subscription["id"], subscription["watermark"], subscription["watermark"])
        sample = status_event("Rm9yZWlnbg==", "AQAAAA==", "AQAAAA==")
    status, answer = curl(world, url, live)
    assert status == 200 and "<" in answer and ">OK</" in answer, (status, answer)
    before = work_of(world)
    status, foreign = curl(world, url, sample)
    assert status == 404, (status, foreign)

    identity, creds = re.search(r"id=([^&]+)&creds=(.+)$", url).groups()
    flipped = creds[:-1] + ("A" if creds[-1] != "A" else "B")
    altered = [
        url.replace(identity, "A" * 22),                                # unknown
        url.replace(identity, identity[:-1]),                           # too short
        url.replace(identity, identity + "A"),                          # too long
        url.replace(creds, flipped),                                    # one bit of creds
        url.replace(creds, "B" + creds[1:]),
        url.replace(f"&creds={creds}", ""),
        url.replace(creds, subscription_of(world, 2)["url"].split("creds=")[1]),  # another mailbox's
    ]
    for other in altered:
        status, body = curl(world, other, live)
        assert status == 404, (status, other, body)
        assert body == foreign, "the 404s differ"
    # The connection is still good, and nothing of this cost a decryption or a connection.
    assert work_of(world) == before, (work_of(world), before)
    print("ok: forged callbacks get one constant 404, no RSA operation, no outbound request")

    deep = live.replace("<soap", "<soap", 1).replace("</soap:Body>", "<a>" * 70 + "</a>" * 70 + "</soap:Body>") \
        if "<soap:Body>" in live else status_event("x", "y", "z").replace("</soap:Body>", "<a>" * 70 + "</a>" * 70 + "</soap:Body>")
    malformed = {
        "DOCTYPE": (live.replace("?>", '?><!DOCTYPE a [<!ENTITY b "c">]>', 1), (400,)),
        "PI": (live.replace("?>", "?><?php evil ?>", 1), (400,)),
        "not UTF-8": (None, (400,)),
        "depth above 64": (deep, (400,)),
        "above 256 KB": (live + " " * (300 * 1024), (413,)),
        "truncated": (live[: len(live) // 2], (400,)),
        "wrong namespace": (live.replace("exchange/services/2006", "exchange/services/1999"), (400,)),
        "no XML at all": ("hello", (400,)),
        "empty": ("", (400,)),
    }
    for what, (body, wanted) in malformed.items():
        if body is None:
            command = ["curl", "-sS", "--http1.1", "--cacert", f"{world.folder}/ca.pem", "-o", "/dev/null", "-w", "%{http_code}", url,
                       "--data-binary", "@-"]
            done = subprocess.run(command, input=live.encode("utf-16"), capture_output=True, timeout=60)
            status = int(done.stdout or 0)
        else:
            status, _ = curl(world, url, body)
        assert status in wanted, (what, status)
    assert work_of(world) == before
    status, answer = curl(world, url, live)
    assert status == 200 and ">OK</" in answer, (status, answer)
    print("ok: malformed callbacks are refused, the next good one is answered")

    for path in ("/", "/notify", "/admin", "/metrics", "/MailNotifications/api/ens/nothing"):
        status, _ = curl(world, world.url + path)
        assert status in (401, 404, 405), (path, status)
    bodies = set()
    for token in (None, "", "A" * 43, world.token[:-1] + ("A" if world.token[-1] != "A" else "B")):
        headers = [] if token is None else [f"ApiToken: {token}"]
        status, body = curl(world, world.url + "/api/ens/getpublickey", '{"userId":"00"}', headers)
        assert status == 401, (token, status)
        bodies.add(body)
    assert len(bodies) == 1, bodies
    print("ok: unknown paths, missing and wrong tokens")


def goodbye(world, secret):
    world.device("unsubscribe", 1, secret=secret)
    before = world.exchange("GET", "/books")["unsubscribed"]
    world.exchange("POST", "/deliver", {"address": "user1@example.com", "subject": "too late"})
    wait_until("the next callback is answered Unsubscribe",
               lambda: world.exchange("GET", "/books")["unsubscribed"] == before + 1)
    assert not [p for p in world.pushes()["pushes"] if "too late" in str(p)]
    print("ok: unsubscribe, next callback answered Unsubscribe, no push")

    listed = world.run("token", "list", "--socket", world.socket).stdout
    identity = next(line.split()[0] for line in listed.splitlines() if "demo" in line)
    world.run("token", "revoke", identity, "--socket", world.socket)
    wait_until("a revoked token is refused",
               lambda: curl(world, world.url + "/api/ens/getpublickey", '{"userId":"00"}',
                            [f"ApiToken: {world.token}"])[0] == 401, seconds=3)
    print("ok: token revoked")




def main():
    with World() as world:
        world.start_standins()
        world.start_server()
        secret = journey(world)
        world.device("subscribe", 2)
        callbacks(world)
        goodbye(world, secret)
        log = world.log_of("server")
        for personal in ("user1@example.com", "correct horse", "Postbote", "Übung", world.push_token(1), world.token):
            assert personal not in log, f"the log holds {personal!r}"
        print("ok: nothing personal in the log")
        world.server.terminate()
        assert world.server.wait(20) == 0, world.log_of("server")
        check = world.run("store", "check", "--config", world.config)
        print("ok: drained, store check:", check.stdout.strip().splitlines()[-1])
        dump = world.run("store", "dump", "--redacted", "--config", world.config).stdout
        assert dump.strip() and "@" not in dump
    return 0


if __name__ == "__main__":
    sys.exit(main())
