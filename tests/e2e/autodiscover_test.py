#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`bellhop device subscribe` without --ews-url on real processes: the server finds Exchange by Autodiscover, keeps what it
found for the domain, and refuses what leads astray: loops, other hosts, plain HTTP, pages, wrong passwords."""
import os
import re
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import World, wait_until  # noqa: E402


def counted(world, result):
    return world.metrics().get(f'bellhop_autodiscover_total{{result="{result}"}}', 0)


def books(world):
    return world.exchange("GET", "/books")


def subscribe(world, number, **options):
    return world.device("subscribe", number, ews_url=False, **options)


def finds(world):
    first = subscribe(world, 1).stdout
    secret = re.search(r"[A-Za-z0-9_-]{43}", first).group(0)
    assert counted(world, "found") == 1 and books(world)["autodiscoverSoap"] == 1
    world.exchange("POST", "/deliver", {"address": "user1@localhost", "subject": "Found you", "senderName": "Ann"})
    wait_until("the mail is pushed", lambda: [p for p in world.pushes()["pushes"] if "Found you" in str(p)])
    subscribe(world, 2)
    assert counted(world, "cached") == 1 and books(world)["autodiscoverSoap"] == 1, books(world)
    print("ok: found by SOAP, mail arrives, the domain's next mailbox needs no search")
    return secret


def moves(world, secret):
    # Exchange says that the mailbox is elsewhere: what was kept is forgotten and asked for anew, and leads here again.
    world.exchange("POST", "/faults", {"kind": "response_code", "operation": "subscribe", "count": 1,
                                       "code": "ErrorWrongServerVersion", "mailbox": "user1@localhost"})
    world.exchange("POST", "/autodiscover", {"target": f"https://localhost:{world.ews_port}/ews/exchange.asmx"})
    subscribe(world, 1, secret=secret)
    assert books(world)["autodiscoverSoap"] == 2 and counted(world, "found") == 2
    world.exchange("POST", "/deliver", {"address": "user1@localhost", "subject": "Moved", "senderName": "Ann"})
    wait_until("mail arrives after the move", lambda: [p for p in world.pushes()["pushes"] if "Moved" in str(p)])
    print("ok: a mailbox that moved is searched anew")


def leads_astray(world):
    """Each in a server of its own memory: a domain that led nowhere is not asked again for a second."""
    port = world.ews_port
    cases = [
        ({"soap": "loop", "pox": "loop"}, "redirect_loop", "exchange"),
        ({"soap": "redirect_http", "pox": "redirect_http", "target": "https://foreign.example.org/autodiscover/autodiscover.xml"},
         "foreign_host", "exchange"),
        ({"soap": "redirect_http", "pox": "redirect_url", "target": f"http://localhost:{port}/autodiscover/autodiscover.xml"},
         "insecure_redirect", "exchange"),
        ({"target": "https://169.254.169.254/EWS/Exchange.asmx"}, "foreign_host", "exchange"),
        ({"soap": "html", "pox": "html"}, "garbage", "exchange"),
        ({"soap": "huge", "pox": "huge"}, "garbage", "exchange"),
        ({"soap": "stall", "pox": "stall"}, "timed_out", "unavailable"),
    ]
    for script, result, code in cases:
        world.exchange("POST", "/autodiscover", script)
        before = counted(world, result)
        begin = time.monotonic()
        refused = wait_until("the failure before is forgotten", lambda: asks_anew(world))
        assert refused.returncode != 0 and time.monotonic() - begin < 15, refused.stdout
        assert counted(world, result) == before + 1, (script, result, [line for line in world.log_of("server").splitlines() if "\"autodiscover" in line][-6:])
        assert code in refused.stderr or "Exchange" in refused.stderr, refused.stderr
    # Where the machine's resolver knows no autodiscover.localhost, the plain listener is not reached at all.
    assert books(world)["credentialsOverHttp"] == 0
    print("ok: loops, foreign hosts, plain HTTP, pages, huge and stalling answers each have their outcome")


def asks_anew(world):
    """One subscribe that was not answered from the memory of failures; None while it is."""
    before = counted(world, "failed_before")
    done = subscribe(world, 3, check=False)
    return None if counted(world, "failed_before") > before else done


def wrong_password(world):
    world.exchange("POST", "/autodiscover", {})
    before = books(world)["unauthorized"]
    wait_until("the failure before is forgotten", lambda: asks_with(world, "wrong"))
    assert books(world)["unauthorized"] == before + 1, "one wrong password, one logon"
    print("ok: a wrong password costs one logon")


def asks_with(world, password):
    before = counted(world, "unauthorized")
    subscribe(world, 3, password=password, check=False)
    return counted(world, "unauthorized") > before


def main():
    # Last way: the plain listener of the stand-in, which redirects to where nobody may go.
    with World(mailboxes=4, domain="localhost",
               tenant_config='autodiscover_domains = ["localhost"]\n') as world:
        world.exchange_options = ("--autodiscover-http", f"127.0.0.1:{world.autodiscover_port}")
        world.server_config = f"""[autodiscover]
https_port = {world.ews_port}
http_port = {world.autodiscover_port}
timeout_ms = 4000
attempt_timeout_ms = 1500
failure_seconds = 1
[limits]
subscribe_per_address_per_minute = 100000
getpublickey_per_address_per_minute = 100000
"""
        world.start_standins()
        world.start_server()
        secret = finds(world)
        moves(world, secret)
        world.server.terminate()
        assert world.server.wait(20) == 0, world.log_of("server")
        # Another server, which knows nothing: nobody subscribed through it before.
        for name in ("data.mdb", "store"):
            path = f"{world.folder}/data/{name}"
            if os.path.exists(path):
                os.remove(path)
        world.token = None
        world.start_server()
        leads_astray(world)
        wrong_password(world)
        log = world.log_of("server")
        assert "@localhost" not in log and world.password not in log
        print("ok: nothing personal in the log")
    return 0


if __name__ == "__main__":
    sys.exit(main())
