#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients of Exchange that others wrote, unchanged: exchangelib and ews-javascript-api find, read, subscribe and stream.

    tests/e2e/clients_test.py              both clients at the stand-in, then through the gateway with policy and blocks
    tests/e2e/clients_test.py direct       the stand-in alone
"""
import base64
import http.client
import json
import ssl
import subprocess
import sys
import threading
import time

import peers
from gateway_world import GatewayWorld
from processes import World

PASSWORD = "correct horse"


class Client:
    """One client process for one mailbox."""

    def __init__(self, world, kind, url, number, password=PASSWORD):
        here = dict(peers.environment(), REQUESTS_CA_BUNDLE=f"{world.folder}/ca.pem", NODE_EXTRA_CA_CERTS=f"{world.folder}/ca.pem")
        program = {"exchangelib": ["/usr/bin/python3", "exchangelib_client.py"], "ews-javascript-api": ["node", "ews_client.js"]}[kind]
        self.kind = kind
        self.address = f"user{number}@{world.domain}"
        self.log = open(f"{world.folder}/{kind}.log", "ab")
        self.process = subprocess.Popen([program[0], f"{peers.ROOT}/tests/e2e/clients/{program[1]}", url, self.address, password],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, bufsize=1, env=here)
        world.processes.append(self.process)

    def send(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")

    def receive(self, seconds=60):
        watchdog = threading.Timer(seconds, self.process.kill)  # a client that says nothing ends the test
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        assert line, f"{self.kind} said nothing for {seconds} s, or ended"
        return json.loads(line)

    def do(self, what, **more):
        self.send(do=what, **more)
        return self.receive()

    def good(self, what, **more):
        answer = self.do(what, **more)
        assert "error" not in answer, f"{self.kind} {what}: {answer}"
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait(20)


def deliver(world, number, subject):
    world.exchange("POST", "/deliver", {"address": f"user{number}@{world.domain}", "subject": subject, "senderName": "Bob",
                                        "senderAddress": "bob@example.com"})


def reads_and_subscribes(world, client, number):
    """What a client does on an ordinary day. `number` of its mailbox, which is empty."""
    for subject in ("First", "Grüße <&> 你好", "Third"):
        deliver(world, number, subject)
    assert client.good("folder") | {"seconds": 0} == {"name": "Inbox", "total": 3, "unread": 3, "seconds": 0}
    assert client.good("find")["subjects"] == ["Third", "Grüße <&> 你好", "First"]
    got = client.good("get")
    assert (got["subject"], got["sender"]) == ("Third", "bob@example.com"), got
    assert client.good("resolve", name=client.address)["addresses"] == [client.address]
    pushed = client.good("push", url="https://127.0.0.1:9/callback")
    known = [one["id"] for one in world.exchange("GET", f"/subscriptions?address={client.address}")["subscriptions"]]
    assert pushed["watermark"] and pushed["subscription"] in known, (pushed, known)
    client.send(do="pull")
    assert client.receive()["subscribed"]
    deliver(world, number, "Pulled")
    client.send(go="on")
    assert client.receive()["events"] == ["NewMailEvent"]


def streams(world, client, number):
    client.send(do="stream")
    told = client.receive()
    assert "subscribed" in told, told
    deliver(world, number, "Streamed")
    answer = client.receive()
    assert answer.get("events") == ["NewMailEvent"], answer
    assert answer["seconds"] < 20, f"an event of a stream came late: {answer}"


def refuses_wrong_password(world, kind, url):
    client = Client(world, kind, url, 1, password="wrong")
    answer = client.do("find")
    assert "error" in answer, answer
    client.close()


def knows_who_asked(world, through=None):
    """The stand-in's record: every request in the name of its own user, whoever else used the connection before."""
    page = world.exchange("GET", "/requests?limit=5000")
    assert page["forgotten"] == 0 and page["requests"]
    for one in page["requests"]:
        assert one["mailbox"] in ("", one["user"]), one
        assert one["target"] == "/EWS/Exchange.asmx", one
        fields = {name: value for name, value in one["headers"]}
        if through:
            assert fields["host"] == through, fields
    return page["requests"]


def direct(world):
    for kind in ("exchangelib", "ews-javascript-api"):
        number = 1 if kind == "exchangelib" else 2
        client = Client(world, kind, world.ews_url, number)
        reads_and_subscribes(world, client, number)
        streams(world, client, number)
        client.close()
        refuses_wrong_password(world, kind, world.ews_url)
        print(f"{kind} at the stand-in: ok")
    requests = knows_who_asked(world)
    assert {one["operation"] for one in requests} >= {"GetFolder", "FindItem", "GetItem", "Subscribe", "GetStreamingEvents", "GetEvents",
                                                      "Unsubscribe", "ResolveNames"}, {one["operation"] for one in requests}
    books = world.exchange("GET", "/books")
    assert books["cookiesForeign"] == 0 and books["cookiesReturned"] > 0, books


# ---- through the gateway ----

BLOCK_SECONDS_MAX = 2.0
# EWS names no device: who is let in is said by account and mail client.
POLICY = """[policy]
enabled = true
[[policy.rule]]
name = "left-the-company"
users = [%s]
[[policy.rule]]
name = "ews-clients"
verdict = "allow"
points = ["ews"]
mail_clients = ["exchangelib/*", "axios/*", "test"]
"""


def policy(*blocked):
    return POLICY % ", ".join(f'"{one}"' for one in blocked or ("nobody@example.com",))


def ask(world, number, user_agent="test", body=b"", content="", headers=None):
    """One request of a client without habits: status, fields, body."""
    connection = http.client.HTTPSConnection("localhost", world.gateway_port, timeout=30,
                                             context=ssl.create_default_context(cafile=f"{world.folder}/ca.pem"))
    body = body or ('<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
                    'xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" '
                    'xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><s:Body>'
                    + (content or '<m:GetFolder><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape></m:FolderShape><m:FolderIds>'
                       '<t:DistinguishedFolderId Id="inbox"/></m:FolderIds></m:GetFolder>') + "</s:Body></s:Envelope>").encode()
    login = base64.b64encode(f"user{number}@{world.domain}:{PASSWORD}".encode()).decode()
    connection.request("POST", "/EWS/Exchange.asmx", body, {"Authorization": f"Basic {login}", "User-Agent": user_agent,
                                                            "Content-Type": "text/xml; charset=utf-8", **(headers or {})})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, answer.headers, text


def refuses_as_exchange_would(world):
    """The documented refusal: 403 with a SOAP fault that clients of Exchange understand."""
    for status, headers, text in (ask(world, 4, user_agent="curl/8"),
                                  ask(world, 4, content='<m:UpdateInboxRules><m:RemoveOutlookRuleBlob>true</m:RemoveOutlookRuleBlob></m:UpdateInboxRules>')):
        assert status == 403 and "ErrorAccessDenied" in text and "<" in text, (status, text)
        assert "WWW-Authenticate" not in headers and headers["Content-Type"].startswith("text/xml"), headers
    assert ask(world, 4)[0] == 200
    status, headers, _ = ask(world, 4, headers={"Authorization": "NTLM TlRMTVNTUAABAAAAB4IIAAAAAAAAAAAAAAAAAAAAAAA="})
    assert status in (401, 403) and not any("NTLM" in offer or "Negotiate" in offer for offer in headers.get_all("WWW-Authenticate") or ()), headers


def blocked_and_unblocked(world, client, number):
    """A block counts within two seconds, and so does its end."""
    assert "error" not in client.do("find")
    begun = time.monotonic()
    world.set_policy(policy(client.address))
    answer = client.do("find")
    assert "error" in answer, f"{client.kind} was let in: {answer}"
    assert time.monotonic() - begun <= BLOCK_SECONDS_MAX + answer["seconds"], "the block came late"
    status, _, text = ask(world, number)
    assert status == 403 and "ErrorAccessDenied" in text, (status, text)
    print(f"     a blocked {client.kind} says: {answer['error']}: {answer['message'][:100]}")
    begun = time.monotonic()
    world.set_policy(policy())
    assert "error" not in client.do("find")
    assert time.monotonic() - begun <= BLOCK_SECONDS_MAX


def a_block_ends_a_stream(world, client):
    client.send(do="stream")
    assert "subscribed" in client.receive()
    begun = time.monotonic()
    world.set_policy(policy(client.address))
    client.receive()  # whatever it makes of a stream that is cut off
    assert time.monotonic() - begun <= BLOCK_SECONDS_MAX + 1, "the stream went on"
    world.set_policy(policy())


def through_gateway(world):
    for number, kind in ((1, "exchangelib"), (2, "ews-javascript-api")):
        client = Client(world, kind, world.gateway_url, number)
        reads_and_subscribes(world, client, number)
        streams(world, client, number)
        blocked_and_unblocked(world, client, number)
        client.close()
        refuses_wrong_password(world, kind, world.gateway_url)
        print(f"{kind} through the gateway: ok")
    client = Client(world, "exchangelib", world.gateway_url, 3)
    a_block_ends_a_stream(world, client)
    refuses_as_exchange_would(world)
    knows_who_asked(world, f"localhost:{world.ews_port}")
    books = world.exchange("GET", "/books")
    assert books["cookiesForeign"] == 0 and books["cookiesReturned"] > 0, books


def main():
    peers.need("exchangelib", javascript=True)
    with World(mailboxes=4, password=PASSWORD,
               exchange_options=("--requests", "5000", "--affinity", "--talkative", "--offers", "basic,negotiate,ntlm")) as world:
        world.start_standins()
        direct(world)
    if sys.argv[1:] == ["direct"]:
        return
    with GatewayWorld(mailboxes=4, password=PASSWORD, cores=2, policy=policy(),
                      exchange_options=("--requests", "5000", "--affinity", "--talkative", "--offers", "basic,negotiate,ntlm")) as world:
        world.start_standins()
        world.start_server(token=False)
        through_gateway(world)


if __name__ == "__main__":
    main()
