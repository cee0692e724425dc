#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bellhop's own EWS through a gateway (ews.via): its own process's, and another's, whose policy then counts.

Also what operators see of the gateway: `bellhop gateway …`."""
import http.client
import json
import os
import re
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import World, free_ports, wait_until  # noqa: E402


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


def ask(path, method, target, body=None):
    connection = UnixConnection(path)
    connection.request(method, target, body=body, headers={"content-type": "application/json"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status < 300, (method, target, answer.status, text)
    return json.loads(text or "{}")


def route(world):
    return f"""
[[gateway.route]]
hosts = ["localhost"]
tenant = "demo"
[gateway.route.ews]
upstream = "https://localhost:{world.ews_port}"
ca_file = "{world.folder}/ca.pem"
"""


def listener(world, port):
    return f"""
[listen.gateway]
addresses = ["127.0.0.1:{port}"]
certificate_file = "{world.folder}/server.pem"
private_key_file = "{world.folder}/server-key.pem"
connections_per_address_per_second = 0
"""


class ViaWorld(World):
    def __init__(self, own, **more):
        super().__init__(**more)
        (self.gateway_port,) = free_ports(1)
        self.own = own  # the gateway is the server itself; else another process
        self.gateway_socket = self.socket if own else f"{self.folder}/gateway.sock"
        if own:
            self.server_config += listener(self, self.gateway_port) + route(self)

    def write_config(self):
        super().write_config()
        with open(self.config) as file:
            text = file.read().replace("[ews]\n", f'[ews]\nvia = "https://localhost:{self.gateway_port}"\n')
        if self.own:
            text = 'roles = ["public", "gateway"]\n' + text
        with open(self.config, "w") as file:
            file.write(text)

    def start_gateway(self):
        """A process that is only a gateway, with the server's keyring and a policy of its own."""
        self.run("keyring", "make", f"{self.folder}/keyring")
        path = f"{self.folder}/gateway.toml"
        (port,) = free_ports(1)
        with open(path, "w") as file:
            file.write(f"""
roles = ["gateway"]
data_dir = "{self.folder}/gateway-data"
keyring_file = "{self.folder}/keyring"
cores = 1
[listen.admin]
address = "127.0.0.1:{port}"
unix_socket = "{self.gateway_socket}"
[policy]
enabled = true
{listener(self, self.gateway_port)}
{route(self)}
""")
        self.spawn("gateway", "bellhopd", "--config", path)
        wait_until("the gateway is ready", lambda: self.http("GET", f"http://127.0.0.1:{port}/readyz", None, check=False))

    def gateway(self, *arguments, check=True):
        return self.run("gateway", *arguments, "--socket", self.gateway_socket, check=check)

    def gateway_outcomes(self):
        return json.loads(self.gateway("show", "--json").stdout)["outcomes"]

    def mail(self, number, subject):
        self.exchange("POST", "/deliver", {"address": f"user{number}@example.com", "subject": subject})

    def pushed(self, subject):
        return [push for push in self.pushes()["pushes"] if subject in str(push)]


def through_its_own_gateway():
    with ViaWorld(own=True, mailboxes=3) as world:
        world.start_standins()
        world.start_server()
        secret = re.search(r"device secret (\S+)", world.device("subscribe", 1).stdout)[1]
        assert world.gateway_outcomes()["passed.ok"] >= 1, "Subscribe went through the gateway"
        world.mail(1, "through the gateway")
        wait_until("the mail is pushed", lambda: world.pushed("through the gateway"))
        outcomes = world.gateway_outcomes()
        assert outcomes["passed.ok"] >= 2 and not outcomes["refused.context"] and not outcomes["blocked.policy"], outcomes

        text = world.gateway("show").stdout
        assert re.search(rf"^localhost +ews +localhost:{world.ews_port} +well +", text, re.M), text
        text = world.gateway("account", "USER1@example.com").stdout
        assert re.search(r"passed\.ok +ews +200 +Subscribe ", text) and re.search(r"passed\.ok +ews +200 +GetItem ", text), text
        rows = json.loads(world.gateway("account", "user1@example.com", "--json", "--limit", "1").stdout)["requests"]
        assert len(rows) == 1 and rows[0]["mailClient"].startswith("mailnotificationservice/v2") or rows[0]["mailClient"].startswith(
            "MailNotificationService/v2"), rows
        done = world.gateway("account", "nobody@example.com", check=False)
        assert done.returncode == 1 and "remembers no such request" in done.stderr, done
        assert world.gateway("mail-client", "no-such-client", check=False).returncode == 1
        assert "0 forgotten" in world.gateway("forget-redirects", "--status", "451").stdout
        assert "user1@example.com" not in json.dumps(rows)

        # A block in the middle: the next callback is answered Unsubscribe, and nothing is pushed.
        unsubscribed = world.exchange("GET", "/books")["unsubscribed"]
        who = ["--tenant", "demo", "--device-id", "device-1"]
        world.run("device", "block", *who, "--socket", world.socket)
        world.mail(1, "after the block")
        wait_until("Exchange is told to unsubscribe", lambda: world.exchange("GET", "/books")["unsubscribed"] == unsubscribed + 1)
        assert not world.pushed("after the block")
        world.run("device", "unblock", *who, "--socket", world.socket)
        world.device("subscribe", 1, secret=secret)
        world.mail(1, "unblocked")
        wait_until("mail is pushed again", lambda: world.pushed("unblocked"))
        print("ok: bellhop → its own gateway → Exchange → callback → push; a block in the middle ends in Unsubscribe")


def through_another_gateway():
    with ViaWorld(own=False, mailboxes=3) as world:
        world.start_standins()
        world.start_gateway()
        world.start_server()
        refused = world.device("subscribe", 1, check=False)
        assert refused.returncode == 1 and "blocked" in refused.stderr, refused
        assert world.gateway_outcomes()["blocked.policy"] >= 1
        assert world.exchange("GET", "/books").get("subscribes", 0) == 0

        known = '{"deviceId":"device-1","account":"user1@example.com","managed":true}\n'
        ask(world.gateway_socket, "PUT", "/v1/compliance?tenant=demo", known)
        world.device("subscribe", 1)
        world.mail(1, "by another's leave")
        wait_until("the mail is pushed", lambda: world.pushed("by another's leave"))
        text = world.gateway("account", "user1@example.com").stdout
        assert re.search(r"blocked\.policy +ews +403 +- ", text) and "why: unknown_device" in text, text

        # Blocked there: the fetch is refused, the credentials are not, and once it is lifted nothing has to be registered anew.
        ask(world.gateway_socket, "PATCH", "/v1/compliance?tenant=demo", '{"deviceId":"device-1","override":"block"}\n')
        blocked = world.metrics().get('bellhop_ews_requests_total{result="blocked"}', 0)
        world.mail(1, "not to be read")
        wait_until("the fetch is refused", lambda: world.metrics().get('bellhop_ews_requests_total{result="blocked"}', 0) > blocked)
        assert not world.pushed("not to be read"), "no subject without Exchange"
        ask(world.gateway_socket, "PATCH", "/v1/compliance?tenant=demo", '{"deviceId":"device-1","override":"none"}\n')
        world.mail(1, "to be read again")
        wait_until("the next mail is pushed", lambda: world.pushed("to be read again"))
        subscriptions = json.loads(world.run("subscription", "list", "--json", "--socket", world.socket).stdout)["subscriptions"]
        assert [one["logon"] for one in subscriptions] == [{"refusals": 0}], subscriptions
        print("ok: the policy of another's gateway counts for bellhop's own EWS, device by device")


if __name__ == "__main__":
    through_its_own_gateway()
    through_another_gateway()
