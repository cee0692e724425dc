#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compliance pulled from a UEM: everything, then what changes; a block that arrives; a source that dies, grows old and closes.

uem_test.py [DEVICES]: 20,000 devices where no number is given."""
import hashlib
import http.client
import json
import os
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import World, free_ports, wait_until  # noqa: E402

DEVICES = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
TOKEN = "uem-token-of-the-test"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


class UemWorld(World):
    """A server whose compliance comes from the UEM stand-in."""

    def __init__(self, **more):
        super().__init__(**more)
        self.uem_port, self.uem_control = free_ports(2)
        self.server_config += f"""
[limits]
subscribe_handovers_per_hour = 60
[policy]
enabled = true
[[policy.source]]
kind = "uem"
url = "https://localhost:{self.uem_port}/devices"
token_file = "{self.folder}/uem-token"
interval_seconds = 1
stale_after_minutes = 1
retry_first_ms = 100
retry_max_ms = 500
page_timeout_ms = 20000
[[policy.rule]]
name = "rooted"
compromised = "yes"
on_unknown = "allow"
[[upstream]]
hosts = ["localhost"]
ca_file = "{self.folder}/ca.pem"
"""
        self.uem_process = None

    def start_uem(self, token=TOKEN, devices=DEVICES):
        self.uem_process = self.spawn("uem", "bellhop", "stand-in", "uem", "--folder", self.folder, "--listen", f"127.0.0.1:{self.uem_port}",
                                      "--control", f"127.0.0.1:{self.uem_control}", "--token", token, "--devices", str(devices), "--users", "3",
                                      "--page-lines", "5000")
        wait_until("the UEM stand-in answers", lambda: self.uem("GET", "/books", check=False))

    def write_token(self, token):
        path = f"{self.folder}/uem-token"
        with open(path + ".new", "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(token + "\n")
        os.rename(path + ".new", path)

    def uem(self, method, path, body=None, check=True):
        text = self.http(method, f"http://127.0.0.1:{self.uem_control}{path}", body, check)
        return None if text is None else json.loads(text)

    def pulls(self, result):
        return self.metrics().get(f'bellhop_uem_pulls_total{{result="{result}"}}', 0)

    def put(self, device, **facts):
        self.uem("POST", "/devices", {"lines": [json.dumps({"deviceId": device, **facts})]})

    def subscribe(self, number, **more):
        return self.device("subscribe", number, check=False, **more)

    def admin_get(self, target):
        connection = UnixConnection(self.socket)
        connection.request("GET", target)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert answer.status == 200, (target, answer.status, text)
        return json.loads(text)

    def verdict(self, number):
        """What the policy says of the user's device at its registration."""
        user = hashlib.sha256(f"user{number}@example.com".encode()).hexdigest()
        told = self.admin_get(f"/v1/compliance/device-{number}?tenant=demo&userId={user}&point=registration")
        return told["decisions"][0]["verdict"]

    def source(self):
        return self.admin_get("/v1/compliance")["tenants"][0]


def everything_is_read_at_the_start(world):
    began = time.monotonic()
    wait_until("the whole list counts", lambda: world.pulls("bulk") == 1, 300)
    books = world.uem("GET", "/books")
    assert books["bulks"] == 1 and books["lines"] == DEVICES, books
    print(f"ok: {DEVICES} devices in {books['requests']} pages; at most {time.monotonic() - began:.1f} s after the server was ready")


def a_block_arrives(world):
    """A device that is on record may register; compromised it may not, and back again."""
    world.put("device-1", account="user1@example.com", managed=True, compromised=False)
    world.put("device-2", account="user2@example.com", managed=True, compromised=True)
    wait_until("the first device is let in", lambda: world.verdict(1) == "allow")
    assert world.subscribe(1).returncode == 0
    assert world.verdict(2) == "block" and "blocked" in world.subscribe(2).stderr, "compromised"
    assert world.verdict(3) == "block" and "blocked" in world.subscribe(3).stderr, "unknown"
    times = {}
    for wanted, compromised in (("allow", False), ("block", True), ("allow", False)):
        began = time.monotonic()
        world.put("device-2", account="user2@example.com", managed=True, compromised=compromised)
        wait_until(f"the second one: {wanted}", lambda: world.verdict(2) == wanted)
        times[wanted] = max(times.get(wanted, 0), time.monotonic() - began)
    assert world.subscribe(2).returncode == 0
    world.uem("POST", "/remove", {"deviceId": "device-2"})
    wait_until("it is unknown", lambda: world.verdict(2) == "block")
    print(f"ok: changes arrive: block after {times['block']:.1f} s, allow after {times['allow']:.1f} s, with an interval of 1 s")


def a_source_that_forgets_is_asked_for_everything(world):
    bulks = world.uem("GET", "/books")["bulks"]
    world.uem("POST", "/forget")
    wait_until("all is read again", lambda: world.pulls("bulk") == 2, 300)
    assert world.uem("GET", "/books")["bulks"] == bulks + 1
    assert world.pulls("broken") == 0, "that is no failure"
    print("ok: after 410 everything is read")


def wrong_credentials_are_named(world):
    world.write_token("another")
    wait_until("it is refused", lambda: "answered 401" in world.log_of("server"))
    assert "uem-token" in world.log_of("server"), "the log names the file"
    delta = world.pulls("delta")
    world.write_token(TOKEN)
    wait_until("it goes on without a reload", lambda: world.pulls("delta") > delta)
    assert TOKEN not in world.log_of("server")
    print("ok: a refused token is named by its file, and a new one is taken without a reload")


def a_dead_source_closes(world):
    """The last data counts for a minute; then registrations are answered 503, and the source's return opens them again."""
    assert world.verdict(1) == "allow" and world.source()["state"] == "fresh"
    world.uem_process.terminate()
    world.uem_process.wait(20)
    began = time.monotonic()
    wait_until("it is missed", lambda: world.source()["state"] == "unreachable")
    assert "could not be asked" in world.source()["complaint"], world.source()
    assert world.verdict(1) == "allow", "the last data counts"
    wait_until("it is too old", lambda: world.verdict(1) == "unavailable", 90)
    after = time.monotonic() - began
    assert 50 < after < 75, after
    refused = world.subscribe(1)
    assert refused.returncode == 1 and "HTTP 503" in refused.stderr, refused
    wait_until("the state says so", lambda: world.source()["state"] == "stale")
    world.start_uem()
    world.put("device-1", account="user1@example.com", managed=True, compromised=False)
    began = time.monotonic()
    wait_until("it is back", lambda: world.verdict(1) == "allow", 60)
    assert world.source()["state"] == "fresh" and world.subscribe(1).returncode == 0
    print(f"ok: closed {after:.0f} s after the source died, with stale_after_minutes = 1; open {time.monotonic() - began:.1f} s after it was back")


def main():
    with UemWorld(mailboxes=3) as world:
        world.write_token(TOKEN)
        world.start_standins()
        world.start_uem()
        world.start_server()
        everything_is_read_at_the_start(world)
        a_block_arrives(world)
        a_source_that_forgets_is_asked_for_everything(world)
        wrong_credentials_are_named(world)
        a_dead_source_closes(world)


if __name__ == "__main__":
    main()
