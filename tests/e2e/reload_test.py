#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reloads of a real server: a hundred under load, faults, watched files, a tenant that goes and comes back, kill -9.

  reload_test.py [reloads] [mails]     default 100, 600"""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from journey_test import curl, status_event, subscription_of  # noqa: E402
from load_test import resident_kb  # noqa: E402
from processes import BIN, SKIP, World, wait_until  # noqa: E402

LIMITS = "subscribe_per_address_per_minute = 100000\ngetpublickey_per_address_per_minute = 100000\n"
# Generations are counted, so files are watched only where that is tested.
CONFIG = f"[reload]\nwatch_interval_seconds = 0\n[notification]\ncallbacks_per_mailbox_per_minute_max = 100000\n[limits]\n{LIMITS}"
SECOND = '[[tenant]]\nid = "second"\nname = "Second"\news_hosts = ["localhost"]\n'


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


def admin(world, method, path, body=None):
    connection = UnixConnection(world.socket)
    connection.request(method, path, body=None if body is None else json.dumps(body))
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def issue(world, number):
    """Certificate and key `number` for the listener, by the stand-ins' authority."""
    stem = f"{world.folder}/pair{number}"
    openssl = ["openssl"]
    with open(f"{stem}.ext", "w") as file:
        file.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for command in (["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{stem}.key"],
                    ["req", "-new", "-key", f"{stem}.key", "-subj", f"/CN=pair{number}", "-out", f"{stem}.csr"],
                    ["x509", "-req", "-in", f"{stem}.csr", "-CA", f"{world.folder}/ca.pem", "-CAkey",
                     f"{world.folder}/ca-key.pem", "-set_serial", str(1000 + number), "-days", "30",
                     "-extfile", f"{stem}.ext", "-out", f"{stem}.pem"]):
        subprocess.run(openssl + command, check=True, capture_output=True)
    return stem


def put(source, target):
    """As a careful operator does: beside, then renamed."""
    shutil.copy(source, target + ".new")
    os.rename(target + ".new", target)


def put_pair(world, stem):
    put(f"{stem}.key", f"{world.folder}/server-key.pem")
    put(f"{stem}.pem", f"{world.folder}/server.pem")


def write(path, text):
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)


def client_context(world):
    context = ssl.create_default_context(cafile=f"{world.folder}/ca.pem")
    context.check_hostname = True
    return context


def handshake(world, context, session=None):
    """(serial number of the server's certificate, session reused, session) of a new connection that also asks."""
    with socket.create_connection(("127.0.0.1", world.public_port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as connection:
            connection.sendall(b"GET /api/ens/alive HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b" 200 " in connection.recv(4096)
            return int(connection.getpeercert()["serialNumber"], 16), connection.session_reused, connection.session


class Handshakes(threading.Thread):
    """One new connection after the other, until stopped."""

    def __init__(self, world):
        super().__init__()
        self.world, self.stop, self.made, self.serials, self.failures = world, threading.Event(), 0, set(), []

    def run(self):
        context = client_context(self.world)
        while not self.stop.is_set():
            try:
                self.serials.add(handshake(self.world, context)[0])
                self.made += 1
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))


def hundred_reloads(world, reloads, mails):
    good = open(world.config).read()
    pairs = [issue(world, 1), issue(world, 2)]
    tls12 = client_context(world)
    tls12.maximum_version = ssl.TLSVersion.TLSv1_2
    session = handshake(world, tls12)[2]
    crowd = [Handshakes(world), Handshakes(world)]
    for one in crowd:
        one.start()
    load = subprocess.Popen(
        [f"{BIN}/bellhop", "load", "--server", world.url, "--api-token", world.token, "--ca", f"{world.folder}/ca.pem",
         "--ews-url", world.ews_url, "--exchange-control", f"127.0.0.1:{world.exchange_control}", "--apns-control",
         f"127.0.0.1:{world.apns_control}", "--password", world.password, "--mailboxes", str(world.mailboxes),
         "--keep-registered", "--mails", str(mails), "--concurrency", "8"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    slowest, rss_warm = 0.0, 0
    for number in range(1, reloads + 1):
        put_pair(world, pairs[number % 2])
        write(world.config, good + (SECOND if number % 2 else ""))
        begun = time.monotonic()
        if number % 10 == 0:
            world.server.send_signal(signal.SIGHUP)
            wait_until("SIGHUP reloads", lambda: world.metrics()["bellhop_generation"] == number + 1, 30)
        else:
            status, text = admin(world, "POST", "/v1/reload")
            assert status == 200 and json.loads(text)["result"] == "reloaded", (status, text)
        slowest = max(slowest, time.monotonic() - begun)
        if number == reloads // 4:
            rss_warm = resident_kb(world.server.pid)
        met = sum(one.made for one in crowd)
        wait_until("new connections meet each generation", lambda: sum(one.made for one in crowd) >= met + 2)
    output = load.communicate(timeout=240)[0]
    for one in crowd:
        one.stop.set()
        one.join()
    failures = [failure for one in crowd for failure in one.failures]
    made = sum(one.made for one in crowd)
    assert load.returncode == 0, output
    assert not failures, (len(failures), failures[:3])
    assert {1001, 1002} <= set().union(*(one.serials for one in crowd)), "both certificates must have been seen"
    reused = handshake(world, tls12, session)[1]
    assert reused, "a session ticket of before the reloads must still be good"
    wait_until("old generations are freed", lambda: world.metrics()["bellhop_generations_alive"] == 1, 30)
    metrics = world.metrics()
    assert metrics["bellhop_generation"] == reloads + 1 and metrics["bellhop_reload_last_success"] == 1, metrics
    assert metrics['bellhop_reloads_total{result="reloaded"}'] == reloads
    grown = (resident_kb(world.server.pid) - rss_warm) / 1024
    assert grown < 24 or os.environ.get("BELLHOP_SANITIZED") == "1", f"RSS grew by {grown:.1f} MiB"
    print(f"ok: {reloads} reloads under load, slowest {slowest * 1000:.0f} ms; {made} handshakes, 0 failed; {mails} mails, 0 lost; "
          f"RSS grew by {grown:.1f} MiB after the first quarter")
    write(world.config, good)
    put_pair(world, pairs[0])
    world.run("reload", "--socket", world.socket)


def faults(world):
    with open(world.config) as file:
        good = file.read()
    serial = handshake(world, client_context(world))[0]
    generation = world.metrics()["bellhop_generation"]

    def refused(text, *wanted):
        write(world.config, text)
        done = world.run("reload", "--socket", world.socket, check=False)
        assert done.returncode == 1 and all(re.search(one, done.stderr) for one in wanted), (wanted, done.stderr)
        assert world.metrics()["bellhop_generation"] == generation and world.metrics()["bellhop_reload_last_success"] == 0
        assert handshake(world, client_context(world))[0] == serial

    config = re.escape(world.config)
    line = good[:good.index("[limits]")].count("\n") + 2
    refused(good.replace(f"[limits]\n{LIMITS}", "[limits]\ndevices_per_user_max = 0\n"), rf"{config}:{line}:24: limits.devices")
    refused(good + "[x\n", rf"{config}:\d+:\d+: not TOML")
    refused(good.replace("pool_target = 16", "pool_target = 17"),
            rf"{config}:\d+:15: keys.pool_target cannot change from 16 to 17 by a reload")
    refused(good.replace("server-key.pem", "apns.p8"), rf"{config}:\d+:\d+: listen.public.private_key_file: .*apns.p8: does not belong")
    refused(good.replace("server.pem", "absent.pem"), rf"absent.pem: cannot read the certificate")
    refused(good.replace("apns.p8", "ca.pem"), rf"ca.pem: no APNs key")
    refused(good.replace(f'"{world.folder}/keyring"', f'"{world.folder}/ca.pem"'), rf"{config}:\d+:\d+: keyring_file: .*ca.pem")
    write(world.config, good)
    done = world.run("reload", "--config", world.config)
    assert "nothing has changed" in done.stdout, done.stdout
    assert world.metrics()["bellhop_reload_last_success"] == 1
    log = world.log_of("server")
    assert log.count('"event":"reload"') >= 8 and "cannot change from 16 to 17" in log
    print("ok: faults are named with file, line and column, and change nothing")


def differences(world):
    with open(world.config) as file:
        good = file.read()
    other = f"{world.folder}/other.toml"
    write(other, good)
    done = world.run("check", other, "--diff", "--running")
    assert "no key differs" in done.stdout, done.stdout
    write(other, good + SECOND)
    done = world.run("check", other, "--diff", world.config)
    assert "tenant[second]: (none) → present (reload)" in done.stdout and "a reload takes all" in done.stdout, done.stdout
    write(other, good.replace("pool_target = 16", "pool_target = 17"))
    for more in (["--diff"], ["--diff", world.config], ["--diff", "--running", "--socket", world.socket]):
        done = world.run("check", other, *more, check=False)
        assert done.returncode == 4 and "keys.pool_target: 16 → 17 (restart)" in done.stdout, (more, done)
    write(other, good.replace("pool_target = 16", "pool_target = 0"))
    assert world.run("check", other, "--diff", check=False).returncode == 1
    assert world.run("check", other, "--diff", world.config, "--running", check=False).returncode == 2
    print("ok: check --diff tells what differs and what it takes")


def watched(world):
    """A certificate that is renewed by somebody else's program, which writes two files, and a pending restart."""
    with open(world.config) as file:
        good = file.read()
    watching = good.replace("watch_interval_seconds = 0", "watch_interval_seconds = 1")
    write(world.config, watching)
    world.run("reload", "--socket", world.socket)
    write(world.config, watching.replace("pool_target = 16", "pool_target = 17"))
    stem = issue(world, 3)
    context = client_context(world)
    before = world.metrics()['bellhop_reloads_total{result="refused"}']
    lines = world.log_of("server").count("does not belong")
    put(f"{stem}.pem", f"{world.folder}/server.pem")
    wait_until("half a pair is seen and tried again",
               lambda: world.metrics()['bellhop_reloads_total{result="refused"}'] >= before + 2)
    assert handshake(world, context)[0] != 1003
    assert world.log_of("server").count("does not belong") == lines + 1, "one cause, one line"
    put(f"{stem}.key", f"{world.folder}/server-key.pem")
    wait_until("the pair is taken", lambda: handshake(world, context)[0] == 1003)
    # A core that has changed over shows the new certificate before the last one has, and so before the reload is noted.
    wait_until("the reload is noted", lambda: world.metrics()["bellhop_reload_last_success"] == 1)
    write(world.config, good)
    world.run("reload", "--socket", world.socket)
    print("ok: a renewed certificate is taken by itself, once its key is there")


def tenant_goes_and_comes_back(world):
    with open(world.config) as file:
        good = file.read()
    tenant = good.index("[[tenant]]")
    write(world.config, good[:tenant] + SECOND)
    subscription = subscription_of(world, 1)
    url = subscription["url"].replace("127.0.0.1", "localhost")
    body = status_event(subscription["id"], subscription["watermark"], subscription["watermark"])
    assert curl(world, url, body)[0] == 200
    world.run("reload", "--socket", world.socket)
    status, _ = curl(world, world.url + "/api/ens/getpublickey", json.dumps({"userId": "ab" * 32}), [f"ApiToken: {world.token}"])
    assert status == 401, status
    assert curl(world, url, body)[0] == 503
    refused = 'bellhop_callbacks_total{outcome="refused.not_ready"}'
    before = world.metrics()[refused]
    world.exchange("POST", "/deliver", {"address": "user1@example.com", "subject": "while it was away"})
    wait_until("the callback gets no answer", lambda: world.metrics()[refused] > before)
    write(world.config, good)
    world.run("reload", "--socket", world.socket)
    wait_until("Exchange repeats, and the mail is pushed",
               lambda: [p for p in world.pushes()["pushes"] if "while it was away" in str(p)], 60)
    status, _ = curl(world, world.url + "/api/ens/getpublickey", json.dumps({"userId": "ab" * 32}), [f"ApiToken: {world.token}"])
    assert status == 200, status
    print("ok: a tenant that is taken out gets 401 and 503; when it is back, nothing was lost")


def killed_while_reloading(world):
    with open(world.config) as file:
        good = file.read()
    for round_number in range(3):
        stop = threading.Event()

        def hammer():
            number = 0
            while not stop.is_set():
                number += 1
                write(world.config, good + (SECOND if number % 2 else ""))
                try:
                    admin(world, "POST", "/v1/reload")
                except (OSError, http.client.HTTPException):
                    return

        thread = threading.Thread(target=hammer)
        thread.start()
        wait_until("reloads are under way", lambda: world.metrics().get("bellhop_generation", 0) >= 3 + round_number)
        world.server.kill()
        world.server.wait()
        stop.set()
        thread.join()
        write(world.config, good)
        world.start_server()
        world.exchange("POST", "/deliver", {"address": "user1@example.com", "subject": f"after kill {round_number}"})
        wait_until("mail goes on", lambda: [p for p in world.pushes()["pushes"] if f"after kill {round_number}" in str(p)], 60)
    print("ok: kill -9 in the middle of reloads does no harm")


def main():
    if not shutil.which("openssl"):
        print("needs openssl to make certificates")
        return SKIP
    reloads = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    mails = int(sys.argv[2]) if len(sys.argv) > 2 else 600
    with World(mailboxes=6, cores=2, server_config=CONFIG, time_scale=0.05) as world:
        world.start_standins()
        world.start_server()
        hundred_reloads(world, reloads, mails)
        faults(world)
        differences(world)
        watched(world)
        tenant_goes_and_comes_back(world)
        killed_while_reloading(world)
        world.server.terminate()
        assert world.server.wait(20) == 0, world.log_of("server")
        world.run("store", "check", "--config", world.config)
    return 0


if __name__ == "__main__":
    sys.exit(main())
