#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The public listener over HTTP/2 as other people's clients see it: curl, nghttp, h2load. Device API and callbacks, both
versions on one port, 10,000 heartbeats, floods, and the end of the server under load.

  http2_test.py [heartbeats]     default 10000"""
import contextlib
import json
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from journey_test import status_event, subscription_of  # noqa: E402
from processes import SKIP, World, wait_until  # noqa: E402

CONFIG = """[notification]
callbacks_per_mailbox_per_minute_max = 100000
in_flight_per_mailbox_max = 64
"""


def curl(world, path_or_url, *more, body=None, version="--http2"):
    """(status, HTTP version, body) of one request."""
    url = path_or_url if path_or_url.startswith("http") else world.url + path_or_url
    command = ["curl", "-sS", version, "--cacert", f"{world.folder}/ca.pem", "-w", "\n%{http_code} %{http_version}", *more]
    if body is not None:
        command += ["--data-binary", "@-", "-H", "content-type: application/json"]
    done = subprocess.run([*command, url], input=None if body is None else body.encode(), capture_output=True, timeout=60)
    text, _, last = done.stdout.decode(errors="replace").rpartition("\n")
    status, spoken = last.split()
    return int(status), spoken, text


def callback(world, number):
    """URL and body of a heartbeat of that mailbox."""
    subscription = subscription_of(world, number)
    body = status_event(subscription["id"], subscription["watermark"], subscription["watermark"])
    return subscription["url"].replace("127.0.0.1", "localhost"), body


def device_api(world):
    token = ["-H", f"ApiToken: {world.token}"]
    for version, spoken in (("--http2", "2"), ("--http1.1", "1.1")):
        answers = [curl(world, "/api/ens/alive", version=version),
                   curl(world, "/api/ens/getpublickey", *token, body=json.dumps({"userId": "ab" * 32}), version=version),
                   curl(world, "/api/ens/getpublickey", body=json.dumps({"userId": "ab" * 32}), version=version),
                   curl(world, "/api/ens/getpublickey", *token, "-H", "Expect: 100-continue", body="{" + " " * 60_000,
                        version=version),
                   curl(world, "/api/ens/getpublickey", *token, body=" " * 70_000, version=version),
                   curl(world, "/api/ens/checkin", *token, version=version),
                   curl(world, "/nothing", version=version)]
        assert [status for status, _, _ in answers] == [200, 200, 401, 422, 413, 405, 404], answers
        assert {one for _, one, _ in answers} == {spoken}, answers
        assert json.loads(answers[1][2])["keyId"], answers[1]
    print("ok: the device API answers alike over HTTP/2 and HTTP/1.1, by curl")


def callbacks(world):
    url, body = callback(world, 1)
    for version, spoken in (("--http2", "2"), ("--http1.1", "1.1")):
        for more in ([], ["-H", "Expect: 100-continue"]):
            status, said, answer = curl(world, url, *more, body=body, version=version)
            assert (status, said) == (200, spoken) and ">OK</" in answer, (status, said, answer)
        status, said, _ = curl(world, url[:-1] + ("A" if url[-1] != "A" else "B"), body=body, version=version)
        assert (status, said) == (404, spoken), (status, said)
        status, said, _ = curl(world, url, body=body + " " * 300 * 1024, version=version)
        assert (status, said) == (413, spoken), (status, said)
    print("ok: callbacks over both versions, by curl")


def by_nghttp(world):
    with open(f"{world.folder}/heartbeat.xml", "w") as file:
        url, body = callback(world, 1)
        file.write(body)
    # Three requests on one connection, with the priorities and settings that nghttp sends.
    done = subprocess.run(["nghttp", "-v", "--no-dep", "-n", f"--data={world.folder}/heartbeat.xml", url, url, url],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ":status: 200" in done.stdout, done.stdout
    assert "SETTINGS_HEADER_TABLE_SIZE(0x01):0" in done.stdout, done.stdout
    assert "error_code=" not in done.stdout.replace("error_code=NO_ERROR", ""), done.stdout
    print("ok: callbacks by nghttp; the server keeps no header table")


def heartbeats(world, count):
    url, body = callback(world, 1)
    path = f"{world.folder}/heartbeat.xml"
    with open(path, "w") as file:
        file.write(body)
    before = world.metrics()
    done = subprocess.run(["h2load", "-n", str(count), "-c", "4", "-m", "10", "-t", "1", "-d", path,
                           "-H", "content-type: text/xml; charset=utf-8", url], capture_output=True, text=True, timeout=240)
    text = done.stdout
    assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in text, text + done.stderr
    assert f"status codes: {count} 2xx, 0 3xx, 0 4xx, 0 5xx" in text, text
    assert "Application protocol: h2" in text, text
    wait_until("the metrics have them all", lambda: grown(world, before, 'bellhop_http_requests_total{version="2"}') >= count)
    assert grown(world, before, 'bellhop_callbacks_total{outcome="heartbeat"}') == count
    assert grown(world, before, "bellhop_connection_troubles_total") == 0, world.metrics()
    rate = re.search(r"([0-9.]+) req/s", text)
    print(f"ok: {count} heartbeats by h2load, all answered 200{', ' + rate.group(1) + ' a second' if rate else ''}")


def grown(world, before, prefix):
    return sum(value - before.get(name, 0) for name, value in world.metrics().items() if name.startswith(prefix))


# ---- An attacker ----

def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload) << 8 | kind) + bytes([flags]) + struct.pack(">I", stream) + payload


def field(name, value):
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def attack(world, frames):
    """Sends until the server has enough; the error code of its GOAWAY."""
    context = ssl.create_default_context(cafile=f"{world.folder}/ca.pem")
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("localhost", world.public_port), timeout=30) as plain, \
            context.wrap_socket(plain, server_hostname="localhost") as tls:
        assert tls.selected_alpn_protocol() == "h2"
        tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
        received = b""
        with contextlib.suppress(OSError):
            for i in range(3000):
                tls.sendall(frames(i))
        with contextlib.suppress(OSError):  # a server that has enough may reset the connection
            while data := tls.recv(65536):
                received += data
    codes = []
    while len(received) >= 9:
        size = int.from_bytes(received[:3], "big")
        if received[3] == 7 and len(received) >= 17:
            codes.append(int.from_bytes(received[13:17], "big"))
        received = received[9 + size:]
    return codes


def floods(world):
    head = (field(b":method", b"GET") + field(b":scheme", b"https") + field(b":path", b"/api/ens/alive") +
            field(b":authority", b"localhost"))
    attacks = {
        "rapid reset": lambda i: frame(1, 5, 2 * i + 1, head) + frame(3, 0, 2 * i + 1, struct.pack(">I", 8)),
        "provoked resets": lambda i: frame(1, 4, 2 * i + 1, head) + frame(8, 0, 2 * i + 1, struct.pack(">I", 0x7fffffff)),
        "PING": lambda i: frame(6, 0, 0, b"12345678"),
        "SETTINGS": lambda i: frame(4, 0, 0),
        "CONTINUATION": lambda i: frame(1, 0, 1, head) if i == 0 else frame(9, 0, 1, field(b"x", b"y")),
    }
    for what, frames in attacks.items():
        before = world.metrics()
        codes = attack(world, frames)
        wait_until(f"{what}: counted", lambda b=before: grown(world, b, "bellhop_connection_troubles_total") >= 1)
        troubles = {name: value - before.get(name, 0) for name, value in world.metrics().items()
                    if name.startswith("bellhop_connection_troubles_total") and value != before.get(name, 0)}
        assert any("http2_flood" in name or "http2_violation" in name for name in troubles), (what, troubles)
        assert not codes or codes[-1] in (11, 1), (what, codes)
        status, _, _ = curl(world, "/api/ens/alive")
        assert status == 200, what
    print("ok: floods end their connections, others are served")


def ends_under_load(world):
    url, _ = callback(world, 1)
    load = subprocess.Popen(["h2load", "-D", "20", "-c", "4", "-m", "5", "-t", "1", "-d", f"{world.folder}/heartbeat.xml",
                             "-H", "content-type: text/xml; charset=utf-8", url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        before = world.metrics()
        wait_until("the load flows", lambda: grown(world, before, 'bellhop_http_requests_total{version="2"}') > 200)
        world.server.terminate()
        assert world.server.wait(20) == 0, world.log_of("server")
        last = [line for line in world.log_of("server").splitlines() if '"drained"' in line]
        assert last and '"balance":0' in last[-1].replace(" ", ""), last
    finally:
        load.terminate()
        load.wait(20)
    print("ok: SIGTERM under load over HTTP/2 ends in order")


def gives_up(world):
    """Exchange resets callbacks whose mail it is slow to hand out: the server stops, and the repeat brings the mail."""
    for number in (1, 2, 3):
        world.device("subscribe", number)
    wait_until("all subscriptions are active", lambda: world.exchange("GET", "/books")["heartbeatsAcknowledged"] >= 3)
    world.exchange("POST", "/faults", {"kind": "none", "operation": "get_item", "delayMs": 2500, "count": 3})
    for number in (1, 2, 3):
        world.exchange("POST", "/deliver", {"address": f"user{number}@example.com", "subject": f"slow {number}"})
    for number in (1, 2, 3):
        wait_until(f"mail {number} is acknowledged",
                   lambda: world.exchange("GET", f"/books?address=user{number}@example.com")["newMailsAcknowledged"] == 1)
    books = world.exchange("GET", "/books")
    assert books["failures"] >= 3, books
    pushed = [push for push in world.pushes()["pushes"] if "slow" in str(push)]
    assert sorted(re.search(r"slow \d", str(push)).group() for push in pushed) == ["slow 1", "slow 2", "slow 3"], pushed
    metrics = world.metrics()
    assert metrics["bellhop_events_in_flight"] == 0, metrics
    assert metrics["bellhop_events_handed_back_total"] == 3, metrics  # each stopped, on whatever core its mailbox lives
    world.server.terminate()
    assert world.server.wait(20) == 0
    assert '"balance":0' in world.log_of("server").splitlines()[-1].replace(" ", ""), world.log_of("server")[-2000:]
    print("ok: a reset stops a callback's work; its repeat brings the mail, once")


def without_http2(world):
    status, spoken, _ = curl(world, "/api/ens/alive")
    assert (status, spoken) == (200, "1.1"), (status, spoken)
    print("ok: http2 = false leaves HTTP/1.1 alone")


def main():
    missing = [tool for tool in ("curl", "nghttp", "h2load") if not shutil.which(tool)]
    if missing:
        print("skipped: not installed:", ", ".join(missing))
        return SKIP
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with World(server_config=CONFIG, cores=2) as world:
        world.start_standins()
        world.start_server()
        device_api(world)
        world.device("subscribe", 1)
        wait_until("the first status event is acknowledged",
                   lambda: world.exchange("GET", "/books")["heartbeatsAcknowledged"] >= 1)
        callbacks(world)
        by_nghttp(world)
        heartbeats(world, count)
        floods(world)
        ends_under_load(world)
    impatient = ["--callback-timeout-ms", "700"]
    with World(server_config=CONFIG, cores=2, http2=True, time_scale=0.02, exchange_options=impatient) as world:
        world.start_standins()
        world.start_server()
        gives_up(world)
    with World(server_config=CONFIG, listener_config="http2 = false") as world:
        world.start_standins()
        world.start_server()
        without_http2(world)
    return 0


if __name__ == "__main__":
    sys.exit(main())
