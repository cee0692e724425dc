#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the server does when its store cannot be written: a full disk, a full map, a disk that fails.

Full: registrations are refused with 503, Retry-After and a code; callbacks are served as before; the log says it once; when
there is room again the server goes on by itself. Failing: the process ends at once with an exit code and a message of its
own, since what is on the disk is unknown then; after the repair everything that was acknowledged is there.

The faults come from a library of ours (preload/fail_writes.c) between the server and libc; the map is really filled."""
import hashlib
import json
import os
import re
import ssl
import sys
import urllib.error
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import PRELOAD, World, wait_until  # noqa: E402

EXIT_STORE_BROKEN = 3
LIMITS = """[limits]
subscribe_per_address_per_minute = 100000
getpublickey_per_address_per_minute = 100000
"""
SMALLEST_MAP = 16 * 1024 * 1024


class Faults:
    """The disk under the store of one world."""

    def __init__(self, world):
        self.file = f"{world.folder}/fault"
        self.env = {"LD_PRELOAD": f"{PRELOAD}/libfail_writes.so", "BELLHOP_FAULT": self.file,
                    "BELLHOP_FAULT_STORE": f"{world.folder}/data/store"}

    def begin(self, kind):
        with open(self.file + ".new", "w") as file:
            file.write(kind)
        os.rename(self.file + ".new", self.file)

    def end(self):
        os.unlink(self.file)


def get_public_key(world, name):
    """(status, headers, document) of a request that has to write: a user who was never seen."""
    user = hashlib.sha256(f"{name}@example.com".encode()).hexdigest()
    request = urllib.request.Request(f"{world.url}/api/ens/getpublickey", data=json.dumps({"userId": user}).encode(),
                                     headers={"content-type": "application/json", "ApiToken": world.token})
    context = ssl.create_default_context(cafile=f"{world.folder}/ca.pem")
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return answer.status, answer.headers, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.loads(error.read())


def served(answer):
    """False where it was refused as it should be."""
    status, headers, problem = answer
    if status == 200:
        return True
    assert status == 503, (status, problem)
    assert headers["content-type"].startswith("application/problem+json"), headers["content-type"]
    assert problem["code"] == "unavailable", problem
    assert int(headers["retry-after"]) >= 1, headers.items()
    return False


def active(world, number, secret):
    return "active" in world.device("checkin", number, secret=secret, check=False).stdout


def subscribe(world, number):
    """Registers a device, up to Exchange's first callback. Returns its secret, which proves the registration."""
    secret = re.search(r"[A-Za-z0-9_-]{43}", world.device("subscribe", number).stdout).group(0)
    wait_until("Exchange has called back", lambda: active(world, number, secret))
    return secret


def mail_arrives(world, number, subject):
    address = f"user{number}@example.com"
    before = world.exchange("GET", f"/books?address={address}")["newMailsAcknowledged"]
    world.exchange("POST", "/deliver", {"address": address, "subject": subject})
    wait_until(f"{subject!r} is pushed", lambda: [p for p in world.pushes()["pushes"] if subject in str(p)])
    wait_until(f"{subject!r} is acknowledged",
               lambda: world.exchange("GET", f"/books?address={address}")["newMailsAcknowledged"] == before + 1)
    assert len([p for p in world.pushes()["pushes"] if subject in str(p)]) == 1, "pushed twice"


def lines_of(world, event):
    return [line for line in world.log_of("server").splitlines() if f'"event":"{event}"' in line]


def stop(world):
    world.server.terminate()
    assert world.server.wait(30) == 0, world.log_of("server")


def store_is_clean(world):
    """What `bellhop store check` says; it ends with an error where it finds a fault."""
    return world.run("store", "check", "--config", world.config).stdout.strip().splitlines()[-1]


def full_disk(world, faults, kind, secrets):
    """A disk that is full, and has room again. `secrets`: of the devices that are registered, by number."""
    new = len(secrets) + 1
    world.device("getpublickey", new)
    lines, again = len(lines_of(world, "store_refuses_writes")), len(lines_of(world, "store_writes_again"))
    written = len(world.log_of("server").splitlines())
    faults.begin(kind)
    for request in range(50):
        assert not served(get_public_key(world, f"{kind}-{request}"))
    refused = world.device("subscribe", new, check=False)
    assert refused.returncode != 0 and "HTTP 503, unavailable" in refused.stderr + refused.stdout, refused
    wait_until("the log says it", lambda: len(lines_of(world, "store_refuses_writes")) > lines)
    for number, secret in secrets.items():
        mail_arrives(world, number, f"mail {number} on a {kind} disk")
        assert active(world, number, secret)
    said = lines_of(world, "store_refuses_writes")[lines:]
    assert len(said) == 1 and "full" in said[0], said
    flood = len(world.log_of("server").splitlines()) - written
    assert flood < 20, f"{flood} lines in the log:\n{world.log_of('server')}"
    wait_until("each is counted", lambda: world.metrics()["bellhop_store_failures_total"] >= 50, 5)
    assert world.server.poll() is None, world.log_of("server")
    faults.end()
    secrets[new] = subscribe(world, new)
    wait_until("the log says that it is over", lambda: len(lines_of(world, "store_writes_again")) > again)
    mail_arrives(world, new, f"mail after a {kind} disk")
    print(f"ok: disk {kind}: 503 for registrations, {len(secrets) - 1} mailboxes served, {flood} lines in the log, then on by itself")


def broken_disk(world, faults, kind, secrets):
    """A disk that fails: the end of the process, and of the next one as long as it lasts; then all is there."""
    new = len(secrets) + 1
    for life in ("first", "next"):
        faults.begin(kind)
        refused = world.device("subscribe", new, check=False)
        assert refused.returncode != 0, refused  # no answer: nothing was promised
        assert world.server.wait(30) == EXIT_STORE_BROKEN, (life, world.server.returncode, world.log_of("server"))
        assert "writing or syncing failed: Input/output error" in world.log_of("server"), world.log_of("server")
        if life == "first":  # whoever starts it again finds it whole, and no worse after the next failure
            faults.end()
            world.start_server(env=faults.env)
    faults.end()
    store_is_clean(world)
    world.start_server(env=faults.env)
    for number, secret in secrets.items():
        assert active(world, number, secret), f"the registration of device {number} is lost"
        mail_arrives(world, number, f"mail {number} after {kind}")
    secrets[new] = subscribe(world, new)
    print(f"ok: disk fails ({kind}): exit code {EXIT_STORE_BROKEN}, {len(secrets) - 1} registrations still there")


def disks():
    with World(mailboxes=8, server_config=LIMITS) as world:
        faults = Faults(world)
        world.start_standins()
        world.start_server(env=faults.env)
        secrets = {number: subscribe(world, number) for number in (1, 2)}
        full_disk(world, faults, "full", secrets)
        full_disk(world, faults, "short", secrets)
        broken_disk(world, faults, "sync", secrets)
        broken_disk(world, faults, "meta", secrets)
        stop(world)
        print("ok:", store_is_clean(world))


def fill(world):
    """Mailboxes until not one more fits."""
    for count in (4000, 1000, 100, 10, 1):
        while world.run("store", "seed", "--config", world.config, "--mailboxes", str(count), "--key-pairs", "1",
                        check=False).returncode == 0:
            pass


def full_map():
    small = LIMITS + f"[store]\nmap_size_bytes = {SMALLEST_MAP}\n"
    with World(server_config=small) as world:
        world.start_standins()
        world.start_server()
        secrets = {number: subscribe(world, number) for number in (1, 2)}
        stop(world)
        fill(world)
        world.start_server()
        registered, refused, name = [], 0, 0
        # 20 in a row: a small change may find room where a larger one did not.
        while refused < 20 or not lines_of(world, "store_refuses_writes"):
            name += 1
            assert name < 2000, "the map does not become full"
            if served(get_public_key(world, f"map-{name}")):
                registered.append(name)
                refused = 0
            else:
                refused += 1
                wait_until("a key pair was made, or could not be stored", lambda: lines_of(world, "store_refuses_writes") or
                           world.metrics()["bellhop_key_pool_keys"] > 0)
        said = lines_of(world, "store_refuses_writes")
        assert len(said) == 1 and "raise store.map_size_bytes" in said[0], said
        for number, secret in secrets.items():
            mail_arrives(world, number, f"mail {number} with a full map")
            assert active(world, number, secret)
        assert os.path.getsize(f"{world.folder}/data/store") <= SMALLEST_MAP
        world.server.kill()  # what was acknowledged is on the disk
        world.server.wait()
        print(f"ok: map full after {len(registered)} more users: 503 for registrations, {len(secrets)} mailboxes served")
        world.server_config = small.replace(str(SMALLEST_MAP), str(2 * SMALLEST_MAP))
        world.write_config()
        print("ok:", store_is_clean(world))
        world.start_server()
        for name in registered:
            assert served(get_public_key(world, f"map-{name}")), "a user who had a key has none"
        secrets[3] = subscribe(world, 3)
        for number in secrets:
            mail_arrives(world, number, f"mail {number} with a larger map")
        stop(world)
        print("ok: with a larger map it goes on:", store_is_clean(world))


def main():
    disks()
    if os.environ.get("BELLHOP_SANITIZED") == "1":
        print("not run: the full map; it takes hundreds of key pairs, which a sanitizer build makes slowly")
    else:
        full_map()
    return 0


if __name__ == "__main__":
    sys.exit(main())
