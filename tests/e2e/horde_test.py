#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A phone at a foreign ActiveSync server, through the gateway: what Horde's library says and expects is nobody's of ours. Skipped where
tools/peers has not fetched it."""
import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import horde_server  # noqa: E402
from activesync import Element, Phone  # noqa: E402
from gateway_world import GatewayWorld  # noqa: E402
from processes import SKIP, wait_until  # noqa: E402

PASSWORD = "correct horse"
POLICY = "[policy]\nenabled = true\nunknown_devices = \"allow\"\n"
DEVICE = "F00DF00DF00DF00D"


def names(answer):
    """Last names of the contacts that a Sync brought."""
    found = answer.root.find("AirSync:Collections/AirSync:Collection/AirSync:Commands") if answer.root else None
    return [one.value("AirSync:ApplicationData/Contacts:LastName") for one in found.all("AirSync:Add")] if found else []


def ping(phone, seconds):
    return phone.command("Ping", Element("Ping:Ping", Element("Ping:HeartbeatInterval", str(seconds)), Element("Ping:Folders", Element(
        "Ping:Folder", Element("Ping:Id", "contacts"), Element("Ping:Class", "Contacts")))))


def logs_on(horde, phone_of):
    """OPTIONS, with the fields that some clients add; a wrong password is Horde's 401 without its offer of Negotiate."""
    phone = phone_of()
    answer = phone.options()
    assert answer.status == 200 and "14.1" in answer.headers["MS-ASProtocolVersions"], answer.headers.as_string()
    assert "FolderSync" in answer.headers["MS-ASProtocolCommands"] and answer.headers["MS-Server-ActiveSync"] == "14.1", answer.headers.as_string()
    odd = phone.request("OPTIONS", "/Microsoft-Server-ActiveSync", headers={"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "0"})
    assert odd.status == 200 and "content-type" not in horde.seen[-1][2], (odd.status, horde.seen[-1])
    refused = phone_of(password="wrong").options()
    offers = refused.headers.get_all("WWW-Authenticate")
    assert refused.status == 401 and offers and all(one.startswith("Basic") for one in offers), (refused.status, offers)
    phone.close()


def provisions(phone):
    """449 and status 142 until the policy is accepted, then the folders."""
    answer = phone.folder_sync()
    assert answer.status == 449 and answer.value("AirSync:Status") == "142", (answer.status, answer.body)
    answer = phone.provision()
    assert answer.status == 200 and phone.policy_key != 0, (answer.status, answer.body)
    phone.folder_key = "0"
    answer = phone.folder_sync()
    folder = answer.root.find("FolderHierarchy:Changes/FolderHierarchy:Add")
    assert answer.status == 200 and folder.value("FolderHierarchy:ServerId") == "contacts" and folder.value("FolderHierarchy:Type") == "9", answer.body


def synchronises(horde, phone, contacts):
    horde.write_contacts(contacts)
    phone.sync("contacts")  # a key
    assert names(phone.sync("contacts")) == [one[2] for one in contacts]
    assert names(phone.sync("contacts")) == []


def waits(world, horde, phone, contacts):
    """A Ping hangs at Horde until something has changed."""
    got = []
    waiting = threading.Thread(target=lambda: got.append(ping(phone, 60)))
    waiting.start()
    wait_until("the Ping waits", lambda: world.metrics()["bellhop_gateway_requests_parked"] == 1, 20)
    horde.write_contacts([*contacts, ("3", "Cleo", "Castanea", 4)])
    waiting.join(30)
    assert got and got[0].status == 200 and got[0].value("Ping:Status") == "2", got and (got[0].status, got[0].body)
    assert names(phone.sync("contacts")) == ["Castanea"]


def blocks(world, horde, phone):
    """Blocked while it waits: out at once, and no request of it but OPTIONS and Provision reaches Horde."""
    got = []
    waiting = threading.Thread(target=lambda: got.append(ping(phone, 60)))
    waiting.start()
    wait_until("the Ping waits", lambda: world.metrics()["bellhop_gateway_requests_parked"] == 1, 20)
    world.administer("POST", f"/v1/devices/{DEVICE}/block?tenant=demo")
    waiting.join(10)
    assert got and got[0].status == 403 and not got[0].body, got and (got[0].status, got[0].body)
    before = len(horde.seen)
    assert phone.sync("contacts").status == phone.folder_sync().status == 403 and len(horde.seen) == before
    assert phone.options().status == 200
    assert phone.provision().status == 200
    world.administer("POST", f"/v1/devices/{DEVICE}/unblock?tenant=demo")
    assert phone.sync("contacts").status == 200


def main():
    missing = horde_server.missing()
    if missing:
        print(f"skipped: {', '.join(missing)} not there; tools/peers fetches what the tests need")
        return SKIP
    with GatewayWorld(mailboxes=2, password=PASSWORD, policy=POLICY) as world:
        world.start_standins()
        with horde_server.HordeServer(world.folder, f"{world.folder}/standin.pem", f"{world.folder}/standin-key.pem", PASSWORD) as horde:
            ews, activesync = world.server_config.split("[gateway.route.activesync]")
            activesync = activesync.replace(f"https://localhost:{world.ews_port}", f"https://localhost:{horde.port}", 1)
            world.server_config = f"{ews}[gateway.route.activesync]{activesync}"
            world.start_server(token=False)

            def phone_of(password=PASSWORD, **more):
                return Phone("localhost", world.gateway_port, f"{world.folder}/ca.pem", f"user1@{world.domain}", password, device_id=DEVICE, **more)

            begin = time.monotonic()
            logs_on(horde, phone_of)
            contacts = [("1", "Anna", "Ahorn", 2), ("2", "Bea", "Birke", 3)]
            phone = phone_of()
            provisions(phone)
            synchronises(horde, phone, contacts)
            waits(world, horde, phone, contacts)
            blocks(world, horde, phone)
            phone.close()
            print("a foreign ActiveSync server: logon, policy, folders, contacts and a Ping "
                  f"through the gateway, blocked and unblocked, in {time.monotonic() - begin:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
