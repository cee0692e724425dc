#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ActiveSync from end to end: phones that provision, synchronise, wait for mail and are wiped, at the stand-in and through the gateway.

    tests/e2e/activesync_test.py            the stand-in, then the gateway
    tests/e2e/activesync_test.py direct     the stand-in alone
"""
import concurrent.futures
import hashlib
import http.client
import sys
import time

import peers
from activesync import Element, Phone, decode, encode
from gateway_world import GatewayWorld
from processes import World, free_ports, wait_until

PASSWORD = "correct horse"
OPTIONS = ("--requests", "5000", "--affinity", "--talkative", "--heartbeat-min", "1")


class Door:
    """Where phones go: the stand-in itself, or a gateway in front of it."""

    def __init__(self, world, host, port, ca):
        self.world, self.host, self.port, self.ca = world, host, port, ca

    def phone(self, number, **more):
        return Phone(self.host, self.port, self.ca, more.pop("user", f"user{number}@{self.world.domain}"), more.pop("password", PASSWORD), **more)


def deliver(world, number, subject, count=1):
    world.exchange("POST", "/deliver", {"address": f"user{number}@{world.domain}", "subject": subject, "senderName": "Bob",
                                        "senderAddress": "bob@example.com", "count": count})


def waiting(world, count):
    wait_until(f"{count} requests wait for mail", lambda: world.exchange("GET", "/books")["activesyncWaiting"] == count)


def agrees_with_libwbxml(document):
    """A third reader finds the same elements and texts."""
    xml = peers.wbxml_to_xml(document)

    def check(element):
        name = element.name.split(":")[1]
        assert f"{name}>" in xml or f"{name} xmlns" in xml or f"{name}/>" in xml, (element.name, xml)
        if element.text and element.text.isalnum():
            assert element.text in xml, (element.text, xml)
        for child in element.children:
            check(child)

    check(decode(document))


def tells_versions(door):
    answer = door.phone(1).options()
    assert answer.status == 200 and not answer.body, (answer.status, answer.body)
    assert "14.1" in answer.headers["MS-ASProtocolVersions"].split(","), answer.headers
    assert {"Sync", "Ping", "Provision"} <= set(answer.headers["MS-ASProtocolCommands"].split(",")), answer.headers


def asks_for_credentials(door):
    stranger = door.phone(1, password="wrong")
    answer = stranger.options()
    assert answer.status == 401, answer.status
    assert any(offer.startswith("Basic") for offer in answer.headers.get_all("WWW-Authenticate")), answer.headers
    assert stranger.folder_sync().status == 401


def synchronises(door, number, **more):
    """From nothing to mails, in windows; a lost answer is repeated."""
    phone = door.phone(number, **more)
    folders = phone.folder_sync()
    names = [one.value("FolderHierarchy:DisplayName") for one in folders.root.find("FolderHierarchy:Changes").all("FolderHierarchy:Add")]
    assert names == ["Inbox", "Sent Items", "Calendar", "Contacts"], names
    assert phone.folder_sync().value("FolderHierarchy:Changes/FolderHierarchy:Count") == "0"
    assert phone.sync().value("AirSync:Collections/AirSync:Collection/AirSync:SyncKey") == "1"
    assert phone.sync().body == b"", "nothing has changed"
    deliver(door.world, number, "Grüße <&>", count=5)
    before = dict(phone.sync_keys)
    first = phone.sync(window=3)
    assert phone.subjects(first) == ["Grüße <&>"] * 3, phone.subjects(first)
    assert first.root.find("AirSync:Collections/AirSync:Collection/AirSync:MoreAvailable") is not None
    agrees_with_libwbxml(first.body)
    phone.sync_keys = before  # the answer was lost on the way
    again = phone.sync(window=3)
    assert again.body == first.body, "a repeated key gives the same answer"
    assert phone.subjects(phone.sync()) == ["Grüße <&>"] * 2
    assert phone.sync().body == b""
    wrong = phone.sync(key="77")
    assert wrong.value("AirSync:Collections/AirSync:Collection/AirSync:Status") == "3", wrong.body
    phone.close()


def waits_for_mail(door, number):
    """Ping and Sync hang until a mail comes, and not longer than they said."""
    world = door.world
    phone, other = door.phone(number).ready(), door.phone(number, device_id="OTHER")
    other.ready()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        hanging = [pool.submit(phone.ping, 3540), pool.submit(other.sync, wait_s=3540)]
        waiting(world, 2)
        begun = time.monotonic()
        deliver(world, number, "Wake up")
        ping, sync = (one.result(30) for one in hanging)
        assert time.monotonic() - begun < 5, "mail does not wait"
    assert ping.value("Ping:Status") == "2" and ping.value("Ping:Folders/Ping:Folder") == "1", ping.body
    agrees_with_libwbxml(ping.body)
    assert other.subjects(sync) == ["Wake up"], sync.body
    assert phone.subjects(phone.sync()) == ["Wake up"]
    begun = time.monotonic()
    assert phone.ping(2).value("Ping:Status") == "1", "nothing came"
    assert 1.5 < time.monotonic() - begun < 20
    empty = phone.command("Ping")  # the last one again
    assert empty.value("Ping:Status") == "1"
    refused = phone.ping(9_999)
    assert (refused.value("Ping:Status"), refused.value("Ping:HeartbeatInterval")) == ("5", "3540")
    phone.close()
    other.close()


def uses_both_spellings(door, number):
    """The base64 query, with text and with raw bytes for the device."""
    raw = bytes(range(0xf0, 0x100))
    for identity, known in (("TEXTDEVICE", "TEXTDEVICE"), (raw, raw.hex().upper())):
        phone = door.phone(number, device_id=identity, base64_query=True)
        assert phone.folder_sync().status == 200
        assert phone.sync().status == 200
        devices = {one["id"]: one for one in door.world.exchange("GET", f"/devices?address=user{number}@{door.world.domain}")["devices"]}
        assert devices[known]["commands"] == 2, devices
        phone.close()


def sends_and_fetches(door, number):
    """Bodies of several sizes in both directions arrive as they left."""
    old, new = door.phone(number, version="12.1", device_id="OLD"), door.phone(number, device_id="NEW")
    for size in (1, 1 << 10, 1 << 20):
        mime = b"Subject: Hello\r\n\r\n" + bytes(i % 251 for i in range(size))
        for phone in (old, new):
            answer = phone.send_mail(mime)
            assert (answer.status, answer.body) == (200, b""), (answer.status, answer.body)
            seen = door.world.exchange("GET", "/requests?limit=5000")["requests"][-1]
            sent = mime if phone is old else encode(Element("ComposeMail:SendMail", Element("ComposeMail:ClientId", "1"),
                                                            Element("ComposeMail:Mime", mime)))
            assert seen["bodySha256"] == hashlib.sha256(sent).hexdigest(), seen
            assert seen["operation"] == "SendMail" and seen["user"] == phone.user, seen
        got = old.command("GetAttachment", query=old.query("GetAttachment") + f"&AttachmentName=size:{size}")
        assert got.body == bytes(i % 251 for i in range(size)), len(got.body)
    fetched = new.command("ItemOperations", Element("ItemOperations:ItemOperations", Element(
        "ItemOperations:Fetch", Element("ItemOperations:Store", "Mailbox"), Element("AirSyncBase:FileReference", "size:6"))))
    assert fetched.value("ItemOperations:Response/ItemOperations:Fetch/ItemOperations:Properties/ItemOperations:Data") == "AAECAwQF"
    agrees_with_libwbxml(fetched.body)
    assert new.settings("iPhone8,4").value("Settings:DeviceInformation/Settings:Status") == "1"
    old.close()
    new.close()


def is_wiped(door, number):
    """A wipe reaches the phone by Provision, and the phone says so."""
    world = door.world
    phone = door.phone(number, device_id="LOST").ready()
    address = f"user{number}@{world.domain}"
    world.exchange("POST", "/wipe", {"address": address, "deviceId": "LOST"})
    assert phone.sync().value("AirSync:Status") == "140"
    agrees_with_libwbxml(phone.sync().body)
    assert phone.provision().value("Provision:Status") == "1"
    states = {one["id"]: one["wipe"] for one in world.exchange("GET", f"/devices?address={address}")["devices"]}
    assert states["LOST"] == "done", states
    phone.close()


def returns_cookies(door, number):
    """Routing cookies come and go; what comes back is what was given to this user."""
    before = door.world.exchange("GET", "/books")
    phone = door.phone(number)
    for _ in range(3):
        assert phone.options().status == 200
    after = door.world.exchange("GET", "/books")
    assert phone.cookies, "cookies were set"
    assert after["cookiesReturned"] - before["cookiesReturned"] == 4, (before, after)
    assert after["cookiesForeign"] == before["cookiesForeign"]
    phone.close()


def ordinary_day(door):
    """What works at Exchange works the same through a gateway."""
    tells_versions(door)
    asks_for_credentials(door)
    synchronises(door, 1)
    synchronises(door, 2, base64_query=True)
    waits_for_mail(door, 3)
    uses_both_spellings(door, 4)
    sends_and_fetches(door, 5)
    is_wiped(door, 6)
    returns_cookies(door, 7)


def provisioning(world, door):
    """Where the server asks for it, a phone comes by Provision first: 449 in old versions, a status in new ones."""
    phone, old = door.phone(1), door.phone(1, device_id="OLD", version="12.1")
    assert phone.folder_sync().value("FolderHierarchy:Status") == "142"
    assert old.folder_sync().status == 449
    for one in (phone, old):
        answer = one.provision()
        assert answer.value("Provision:Policies/Provision:Policy/Provision:Status") == "1", answer.body
        agrees_with_libwbxml(answer.body)
        assert one.folder_sync().value("FolderHierarchy:Status") == "1"
    phone.policy_key ^= 1
    assert phone.sync().value("AirSync:Status") == "142"
    phone.close()
    old.close()


def refuses_nonsense(door):
    """The stand-in does not guess: what a test finds at it was sent that way."""
    phone = door.phone(1)
    assert phone.request("GET", "/Microsoft-Server-ActiveSync").status == 405
    assert phone.request("POST", "/Microsoft-Server-ActiveSync").status == 400
    assert phone.request("POST", "/Microsoft-Server-ActiveSync?AAAA").status == 400
    assert phone.request("POST", "/Microsoft-Server-ActiveSync/Proxy?Cmd=Sync").status == 404
    assert phone.command("Ping", Element("FolderHierarchy:FolderSync", Element("FolderHierarchy:SyncKey", "0"))).status == 400
    assert phone.command("FolderSync", body=b"\x03\x01\x6a\x00\x00\x07\x56").status == 400, "the document ends too early"
    assert phone.command("Sync", query="Cmd=Sync&DeviceType=iPhone").status == 400, "no device"
    assert phone.command("Nonsense", Element("AirSync:Sync"), query="Cmd=Nonsense&DeviceId=A&DeviceType=B").status == 501
    phone.close()


def faults(world, door):
    phone = door.phone(2).ready()
    location = "https://elsewhere.example.com/Microsoft-Server-ActiveSync"
    for fault, status, field in (({"kind": "moved", "target": location}, 451, ("X-MS-Location", location)),
                                 ({"kind": "found", "target": location}, 302, ("Location", location)),
                                 ({"kind": "status", "status": 503, "backOffMs": 60_000}, 503, ("Retry-After", "60"))):
        world.exchange("POST", "/activesync-faults", {**fault, "command": "FolderSync", "count": 1})
        answer = phone.folder_sync()
        assert answer.status == status and answer.headers[field[0]] == field[1], (answer.status, answer.headers)
    world.exchange("POST", "/activesync-faults", {"kind": "common", "status": 129, "count": 1})
    assert phone.sync().value("AirSync:Status") == "129"
    assert phone.folder_sync().status == 200
    phone.close()


def direct():
    with World(mailboxes=8, password=PASSWORD, exchange_options=OPTIONS) as world:
        world.start_standins()
        door = Door(world, "localhost", world.ews_port, f"{world.folder}/ca.pem")
        ordinary_day(door)
        refuses_nonsense(door)
        faults(world, door)
    with World(mailboxes=1, password=PASSWORD, exchange_options=(*OPTIONS, "--provisioning")) as world:
        world.start_standins()
        provisioning(world, Door(world, "localhost", world.ews_port, f"{world.folder}/ca.pem"))
    print("ActiveSync at the stand-in: ok")


# ---- through the gateway ----

BLOCK_SECONDS_MAX = 2.0
OPEN_POLICY = """[policy]
enabled = true
unknown_devices = "allow"
"""
STRICT_POLICY = """[policy]
enabled = true
[[policy.rule]]
name = "compromised"
compromised = "yes"
"""
# What Exchange tells of itself and of ways around a gateway, and a gateway does not pass on.
SECRETIVE = ("server", "x-powered-by", "x-aspnet-version", "x-feserver", "x-beserver", "x-calculatedbetarget", "x-diaginfo",
             "x-backendhttpstatus", "alt-svc", "persistent-auth")


def gateway_door(world):
    return Door(world, "localhost", world.gateway_port, f"{world.folder}/ca.pem")


def hides_servers(door):
    """Clients see no server behind, no logon that does not pass a gateway, and no routing cookie that they could change."""
    phone = door.phone(8)
    answer = phone.options()
    shown = {name.lower() for name in answer.headers}
    assert not shown & (set(SECRETIVE) - {"server"}), shown
    assert "IIS" not in answer.headers.get("Server", ""), answer.headers["Server"]
    assert phone.cookies and not any("BackEnd" in name or "exchange1" in value for name, value in phone.cookies.items()), phone.cookies
    refused = door.phone(8, password="wrong").options()
    offers = refused.headers.get_all("WWW-Authenticate")
    assert refused.status == 401 and all(offer.split()[0] in ("Basic", "Bearer") for offer in offers), offers
    # Cookies of another one, and such as Exchange would take, do not arrive.
    before = door.world.exchange("GET", "/books")
    thief = door.phone(7)
    thief.cookies = {**phone.cookies, "X-BackEndCookie": "forged", "X-BackEndOverrideCookie": "exchange2~1", "X-BEResource": "a~1"}
    assert thief.options().status == 200
    after = door.world.exchange("GET", "/books")
    assert after["cookiesForeign"] == before["cookiesForeign"] and after["cookiesReturned"] == before["cookiesReturned"], (before, after)
    seen = door.world.exchange("GET", "/requests?limit=5000")["requests"][-1]
    assert not any("BEResource" in value or "forged" in value for _, value in seen["headers"]), seen["headers"]


def arrived_as_they_left(world):
    """The stand-in's record: canonical targets, each in the name of its own user, one user a connection."""
    page = world.exchange("GET", "/requests?limit=5000")
    assert page["forgotten"] == 0
    users = {}
    for one in page["requests"]:
        path, _, query = one["target"].partition("?")
        assert path == "/Microsoft-Server-ActiveSync", one
        assert dict(one["headers"])["host"] == f"localhost:{world.ews_port}", one["headers"]
        assert one["mailbox"] in ("", one["user"]), one
        if one["scheme"] == "basic":
            assert users.setdefault(one["peer"], one["user"]) == one["user"], f"one connection for two users: {one}"
    return page["requests"]


def refused(answer):
    assert (answer.status, answer.body) == (403, b""), (answer.status, answer.body, answer.headers)
    assert "WWW-Authenticate" not in answer.headers, answer.headers
    return answer


def ends_soon(future, begun):
    """A request that hung ends by a block: without news, and soon."""
    try:
        answer = future.result(BLOCK_SECONDS_MAX + 10)
    except (OSError, http.client.HTTPException) as error:
        answer = error
    seconds = time.monotonic() - begun
    assert seconds <= BLOCK_SECONDS_MAX, f"ended after {seconds:.1f} s: {answer}"
    if isinstance(answer, Exception):
        return
    assert answer.status in (403, 503), (answer.status, answer.body)


def blocks(world, door):
    """Who is kept out, what stays open to them, and how soon a change counts."""
    owner = f"user1@{world.domain}"
    raw = bytes(range(0xf0, 0x100))
    world.comply({"deviceId": "GOOD", "account": owner, "managed": True, "compromised": False},
                 {"deviceId": "ROOTED", "account": owner, "managed": True, "compromised": True},
                 {"deviceId": raw.hex(), "account": owner, "managed": True, "compromised": False}, method="PUT")
    refused(door.phone(1, device_id="UNKNOWN").folder_sync())
    refused(door.phone(2, device_id="GOOD").folder_sync())  # on record for another user
    rooted = door.phone(1, device_id="ROOTED")
    refused(rooted.folder_sync())
    assert rooted.options().status == 200
    assert rooted.provision().status == 200, "a wipe must be able to arrive"
    by_bytes = door.phone(1, device_id=raw, base64_query=True)
    assert by_bytes.folder_sync().status == 200
    good, other = door.phone(1, device_id="GOOD").ready(), door.phone(1, device_id="good").ready()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        hanging = [pool.submit(good.ping, 3540), pool.submit(other.sync, wait_s=3540), pool.submit(by_bytes.ping, 3540)]
        waiting(world, 3)
        begun = time.monotonic()
        world.comply({"deviceId": "GOOD", "override": "block"})
        ends_soon(hanging[0], begun)
        ends_soon(hanging[1], begun)
        refused(good.folder_sync())
        assert not hanging[2].done(), "another device waits on"
        wait_until("nothing is left of them at Exchange", lambda: world.exchange("GET", "/books")["activesyncWaiting"] == 1)
        begun = time.monotonic()
        world.comply({"deviceId": "GOOD", "override": "none"})
        wait_until("the unblocked phone synchronises", lambda: good.sync().status == 200, BLOCK_SECONDS_MAX)
        assert time.monotonic() - begun <= BLOCK_SECONDS_MAX
        deliver(world, 1, "For the one that waited")
        assert hanging[2].result(10).value("Ping:Status") == "2"
    for phone in (good, other, by_bytes, rooted):
        phone.close()


def follows_redirects(world, door, elsewhere_port):
    """A mailbox that moved to another server: the phone does not see it, and does not learn the way around."""
    location = f"https://localhost:{elsewhere_port}/Microsoft-Server-ActiveSync"
    world.exchange("POST", "/activesync-faults", {"kind": "moved", "target": location, "mailbox": f"user3@{world.domain}"})
    phone = door.phone(3, device_id="MOVED")
    for _ in range(2):
        answer = phone.folder_sync()
        assert answer.status == 200, (answer.status, answer.headers)
        assert not any(str(elsewhere_port) in value for value in answer.headers.values()), answer.headers
    world.exchange("DELETE", "/faults")
    phone.close()


def through_gateway():
    with GatewayWorld(mailboxes=8, password=PASSWORD, policy=OPEN_POLICY, exchange_options=(*OPTIONS, "--offers", "basic,negotiate,ntlm")) as world:
        (elsewhere,) = free_ports(1)
        (control,) = free_ports(1)
        world.server_config = world.server_config.replace("[gateway.route.activesync]",
                                                          f'[gateway.route.activesync]\nredirect_to = ["https://localhost:{elsewhere}"]')
        world.start_standins()
        world.spawn("elsewhere", "bellhop", "stand-in", "exchange", "--folder", world.folder, "--listen", f"127.0.0.1:{elsewhere}",
                    "--control", f"127.0.0.1:{control}", "--mailboxes", "8", "--password", PASSWORD)
        world.start_server(token=False)
        door = gateway_door(world)
        ordinary_day(door)
        hides_servers(door)
        follows_redirects(world, door, elsewhere)
        arrived_as_they_left(world)
        print("ActiveSync through the gateway: ok")
    with GatewayWorld(mailboxes=2, password=PASSWORD, cores=2, policy=STRICT_POLICY, exchange_options=OPTIONS) as world:
        world.start_standins()
        world.start_server(token=False)
        blocks(world, gateway_door(world))
        print("ActiveSync through the gateway, blocked and unblocked: ok")


def main():
    peers.need("wbxml2xml")
    direct()
    if sys.argv[1:] != ["direct"]:
        through_gateway()


if __name__ == "__main__":
    main()
