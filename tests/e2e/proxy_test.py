#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Exchange and APNs through HTTP proxies, as real processes: notifications by the thousand, a proxy that is killed and
started again under load, a wrong password, a proxy that stalls, and `bellhop check` of what the configuration names. And
load balancers in front: the PROXY protocol on the public listener."""
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import World, free_ports, wait_until  # noqa: E402

MAILS = int(os.environ.get("BELLHOP_PROXY_MAILS", "1000"))
SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


class Site(World):
    """A world with two proxies: one with a password for Exchange, one that speaks TLS itself for APNs."""

    def __init__(self, **options):
        super().__init__(**options)
        self.ports = dict(zip(("exchange", "exchange_control", "apns", "apns_control"), free_ports(4)))
        self.proxy_processes = {}
        self.proxy_password = "open, sesame"
        self.proxy_options = {"exchange": ("--username", "bellhop", "--password", self.proxy_password), "apns": ("--tls",)}

    def start_proxy(self, name, *more):
        self.proxy_processes[name] = self.spawn(
            f"proxy-{name}", "bellhop", "stand-in", "proxy", "--folder", self.folder,
            "--listen", f"127.0.0.1:{self.ports[name]}", "--control", f"127.0.0.1:{self.ports[name + '_control']}", *more)
        wait_until("the proxy answers", lambda: self.proxy(name, "GET", "/books", check=False))

    def start_proxies(self):
        for name, options in self.proxy_options.items():
            self.start_proxy(name, *options)
        self.write("proxy-password", self.proxy_password + "\n")

    def write(self, name, text, mode=0o600):
        with open(f"{self.folder}/{name}", "w") as file:
            file.write(text)
        os.chmod(f"{self.folder}/{name}", mode)

    def proxy(self, name, method, path, body=None, check=True):
        text = self.http(method, f"http://127.0.0.1:{self.ports[name + '_control']}{path}", body, check)
        return None if text is None else json.loads(text)

    def proxy_config(self):
        # Both peers are "localhost" to the server; what tells them apart is the kind of section in a real configuration. Here
        # Exchange is reached by its name and APNs by its address.
        return f"""
[[proxy]]
name = "for-exchange"
address = "127.0.0.1:{self.ports['exchange']}"
username = "bellhop"
password_file = "{self.folder}/proxy-password"
resolve = "local"
[[proxy]]
name = "for-apns"
address = "localhost:{self.ports['apns']}"
tls = true
ca_file = "{self.folder}/ca.pem"
[[upstream]]
hosts = ["localhost"]
proxy = "for-exchange"
[[upstream]]
hosts = ["*"]
proxy = "for-apns"
"""

    def write_config(self):
        super().write_config()
        with open(self.config) as file:
            text = file.read()
        text = text.replace(f'production = "localhost:{self.apns_port}"', f'production = "127.0.0.1:{self.apns_port}"')
        with open(self.config, "w") as file:
            file.write(text)

    def load(self, mails, *more, check=True):
        return self.run("load", "--server", self.url, "--api-token", self.token, "--ca", f"{self.folder}/ca.pem",
                        "--exchange-control", f"127.0.0.1:{self.exchange_control}",
                        "--apns-control", f"127.0.0.1:{self.apns_control}", "--ews-url", self.ews_url,
                        "--password", self.password, "--mailboxes", str(self.mailboxes), "--mails", str(mails), *more,
                        check=check)


def failures(world, reason):
    return world.metrics().get(f'bellhop_upstream_connect_failures_total{{reason="{reason}"}}', 0)


def delivered(world):
    """New mails that reached a phone, with and without content."""
    outcomes = world.metrics()
    return [outcomes.get(f'bellhop_device_outcomes_total{{outcome="delivered.{how}"}}', 0) for how in ("apns", "contentfree")]


def runs(world):
    done = world.load(MAILS, "--keep-registered")
    print(done.stdout.strip())
    exchange, apns = world.proxy("exchange", "GET", "/books"), world.proxy("apns", "GET", "/books")
    assert set(exchange["targets"]) <= {f"127.0.0.1:{world.ews_port}", f"[::1]:{world.ews_port}"}, exchange
    assert exchange["tunnels"] > 0 and exchange["bytesDown"] > 100 * MAILS, exchange
    assert set(apns["targets"]) == {f"127.0.0.1:{world.apns_port}"} and apns["bytesUp"] > 100 * MAILS, apns
    assert exchange["unauthorized"] == 0 and apns["malformed"] == 0
    print(f"ok: {MAILS} notifications, Exchange and APNs through proxies, 0 lost; "
          f"{exchange['tunnels']} and {apns['tunnels']} tunnels")


def deliver_all(world, stop_after):
    """Mails at a pace that the server follows; their number."""
    for number in range(stop_after):
        world.exchange("POST", "/deliver", {"address": f"user{number % world.mailboxes + 1}@example.com",
                                            "subject": f"Mail {number}", "senderName": "Ann"})
        wait_until("not too many are under way", lambda: world.exchange("GET", "/books")["eventsPending"] < 60, 120)


def dies_under_load(world):
    """Both proxies are killed, and come back, while mail arrives: each mail is pushed, though some without content."""
    before, books = delivered(world), world.exchange("GET", "/books")
    thread = threading.Thread(target=deliver_all, args=(world, MAILS))
    thread.start()
    for step in range(4):
        name = ("exchange", "apns")[step % 2]
        wait_until("the next part of the mails has come", lambda: not thread.is_alive() or
                   world.exchange("GET", "/books")["mails"] - books["mails"] >= (step + 1) * MAILS // 6, 120)
        assert thread.is_alive(), "all mails had come before the proxy was killed"
        missed = failures(world, "proxy_unreachable")
        world.proxy_processes[name].kill()
        world.proxy_processes[name].wait()
        wait_until("the server misses it", lambda: failures(world, "proxy_unreachable") > missed, 60)
        world.start_proxy(name, *world.proxy_options[name])
    thread.join()
    wait_until("Exchange has an answer to everything", lambda: world.exchange("GET", "/books")["eventsPending"] == 0, 120)
    wait_until("nothing is under way", lambda: world.metrics()["bellhop_events_in_flight"] == 0, 60)
    after, now = delivered(world), world.exchange("GET", "/books")
    pushed = [now_ - then for now_, then in zip(after, before)]
    dropped = {name: value for name, value in world.metrics().items() if 'outcome="dropped.' in name and value > 0}
    assert now["mails"] - books["mails"] == MAILS and now["eventsLost"] == books["eventsLost"], now
    assert now["dead"] == books["dead"] and not dropped, (now, dropped)
    assert sum(pushed) >= MAILS, (pushed, MAILS)
    print(f"ok: proxies killed four times while {MAILS} mails came: {pushed[0]:.0f} pushed with content, {pushed[1]:.0f} without, 0 lost")


def wrong_password(world):
    world.write("proxy-password", "barley\n")
    restart(world)
    before = world.proxy("exchange", "GET", "/books")["unauthorized"]
    refused = world.device("subscribe", 1, check=False)
    assert refused.returncode != 0, refused.stdout
    assert failures(world, "proxy_authentication") >= 1
    log = world.log_of("server")
    assert "the proxy wants another user name or password" in log
    assert "barley" not in log and world.proxy_password not in log
    assert world.proxy("exchange", "GET", "/books")["unauthorized"] > before
    world.write("proxy-password", world.proxy_password + "\n")
    reload(world)
    world.device("subscribe", 1)
    print("ok: a wrong password is named, in log and metric, and appears in neither; a reload takes the right one")


def stalls(world):
    world.proxy("exchange", "POST", "/cut")
    world.proxy("exchange", "POST", "/faults", {"kind": "stall"})
    begin, before = time.monotonic(), delivered(world)[1]
    world.exchange("POST", "/deliver", {"address": "user1@example.com", "subject": "While it stalls", "senderName": "Ann"})
    wait_until("a push without content", lambda: delivered(world)[1] > before, 30)
    assert time.monotonic() - begin < 15
    assert failures(world, "proxy_timed_out") >= 1
    world.proxy("exchange", "DELETE", "/faults")
    for kind in ("garbage", "oversized", "extra_bytes", "close", "status"):
        before = sum(failures(world, reason) for reason in ("proxy_malformed", "proxy_refused"))
        world.proxy("exchange", "POST", "/cut")
        world.proxy("exchange", "POST", "/faults", {"kind": kind})
        wait_until(f"{kind} is counted", lambda: deliver_and_count(world, before), 60)
        world.proxy("exchange", "DELETE", "/faults")
    print("ok: a proxy that stalls or talks nonsense costs the content, never the push")


def deliver_and_count(world, before):
    world.exchange("POST", "/deliver", {"address": "user1@example.com", "subject": "Again", "senderName": "Ann"})
    wait_until("it is pushed", lambda: world.metrics()["bellhop_events_in_flight"] == 0)
    return sum(failures(world, reason) for reason in ("proxy_malformed", "proxy_refused")) > before


def restart(world):
    world.server.terminate()
    assert world.server.wait(20) == 0, world.log_of("server")
    world.start_server()


def reload(world):
    done = world.run("reload", "--socket", world.socket)
    assert "reloaded" in done.stdout, done.stdout
    return done.stdout


def leaves_proxies(world):
    """A reload takes the proxies out and in again: the next notification goes the new way, old connections end."""
    with open(world.config) as file:
        through = file.read()
    assert world.proxy_config() in through
    for text, direct in ((through.replace(world.proxy_config(), ""), True), (through, False)):
        with open(world.config, "w") as file:
            file.write(text)
        assert "proxy[for-apns]" in reload(world)
        before, tunnels = delivered(world)[0], [world.proxy(name, "GET", "/books")["tunnels"] for name in ("exchange", "apns")]
        world.exchange("POST", "/deliver", {"address": "user1@example.com", "subject": "Another way", "senderName": "Ann"})
        wait_until("a push with content", lambda: delivered(world)[0] > before, 30)
        now = [world.proxy(name, "GET", "/books")["tunnels"] for name in ("exchange", "apns")]
        assert now == tunnels if direct else all(new > old for new, old in zip(now, tunnels)), (direct, tunnels, now)
        if direct:
            wait_until("no tunnel is left", lambda: all(world.proxy(name, "GET", "/books")["open"] == 0
                                                        for name in ("exchange", "apns")), 30)
    print("ok: a reload takes proxies out and in, for Exchange and APNs")


def checks(world):
    assert world.run("check", world.config).returncode == 0
    os.chmod(f"{world.folder}/proxy-password", 0o644)
    open_to_all = world.run("check", world.config, check=False)
    assert open_to_all.returncode == 1 and "chmod o=" in open_to_all.stderr, open_to_all.stderr
    os.rename(f"{world.folder}/proxy-password", f"{world.folder}/gone")
    missing = world.run("check", world.config, check=False)
    assert missing.returncode == 1 and "proxy[0].password_file" in missing.stderr, missing.stderr
    os.rename(f"{world.folder}/gone", f"{world.folder}/proxy-password")
    os.chmod(f"{world.folder}/proxy-password", 0o600)
    print("ok: bellhop check reads the proxies' files")


def header(client, port=50000):
    payload = socket.inet_aton(client) + socket.inet_aton("198.51.100.1") + struct.pack(">HH", port, 443)
    return SIGNATURE + bytes([0x21, 0x11]) + struct.pack(">H", len(payload)) + payload


def alive(world, first, pieces=False):
    """GET alive behind these bytes: the status, or nothing where the server ends the connection."""
    context = ssl.create_default_context(cafile=f"{world.folder}/ca.pem")
    with socket.create_connection(("127.0.0.1", world.public_port), timeout=20) as plain:
        try:
            for piece in ([first[i:i + 1] for i in range(len(first))] if pieces else [first]):
                plain.sendall(piece)
            with context.wrap_socket(plain, server_hostname="localhost") as connection:
                connection.sendall(b"GET /api/ens/alive HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return int(connection.recv(64).split()[1])
        except (ssl.SSLError, ConnectionError, IndexError):
            return None


def troubles(world, reason):
    return world.metrics().get(f'bellhop_connection_troubles_total{{reason="{reason}"}}', 0)


def behind_balancers():
    with World(mailboxes=1, listener_config="""proxy_protocol = true
trusted_cidrs = ["127.0.0.0/8"]
connections_per_address_per_second = 1
""") as world:
        world.start_standins()
        world.start_server(token=False)
        assert alive(world, header("203.0.113.9")) == 200
        assert alive(world, header("203.0.113.9"), pieces=True) == 200
        assert alive(world, b"") is None
        assert alive(world, b"PROXY TCP4 203.0.113.9 198.51.100.1 1025 443\r\n") is None
        wait_until("both are counted", lambda: troubles(world, "proxy_header") == 2)
        answers = [alive(world, header("203.0.113.77")) for _ in range(30)]
        assert answers[:10] == [200] * 10 and None in answers, answers
        assert alive(world, header("203.0.113.78")) == 200
        wait_until("the rate is counted", lambda: troubles(world, "address_rate") == answers.count(None))
        print("ok: the PROXY protocol names clients; each has its own limit; others are not served")


def main():
    with Site(mailboxes=10, time_scale=0.05) as world:
        world.start_standins()
        world.start_proxies()
        world.server_config = ("[notification]\ncallbacks_per_mailbox_per_minute_max = 10000\n"
                               "[limits]\nsubscribe_per_address_per_minute = 100000\n" + world.proxy_config())
        world.start_server()
        runs(world)
        dies_under_load(world)
        wrong_password(world)
        stalls(world)
        leaves_proxies(world)
        checks(world)
    behind_balancers()
    return 0


if __name__ == "__main__":
    sys.exit(main())
