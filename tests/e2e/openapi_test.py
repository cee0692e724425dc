#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/openapi.json against a running server: every path and method of the file is answered, with a status and a body that the
file tells of; others are refused; requests and answers of a device's whole life fit their schemas.

That the file has every route of the code, and no other, is the business of test_service (OpenApi.*)."""
import http.client
import json
import os
import re
import socket
import ssl
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import World, wait_until  # noqa: E402
from schema import Document  # noqa: E402

UNKNOWN = {64: "ab" * 32, 32: "ab" * 16, 16: "ab" * 8}


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


def ask(connection, method, target, body=None, headers=None):
    connection.request(method, target, body=body, headers=headers or {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, answer.headers.get("content-type", ""), text, answer.headers.get("allow")


def admin(world, method, target, body=None):
    return ask(UnixConnection(world.socket), method, target, body)


def admin_tcp(world, method, target):
    return ask(http.client.HTTPConnection("127.0.0.1", world.admin_port, timeout=30), method, target)


def public(world, method, target, body=None, token=True):
    context = ssl.create_default_context(cafile=f"{world.folder}/ca.pem")
    headers = {"content-type": "application/json"} | ({"ApiToken": world.token} if token else {})
    return ask(http.client.HTTPSConnection("localhost", world.public_port, timeout=60, context=context), method, target, body, headers)


def filled(path, operation):
    """The path with an id in it that nothing has; where any text may be one, a text."""
    if any("pattern" not in p["schema"] for p in operation.get("parameters", []) if p["in"] == "path"):
        return re.sub(r"\{[^}]*\}", "nobody", path)
    size = next((int(re.search(r"\d+", p["schema"]["pattern"].split("]")[1])[0]) for p in operation.get("parameters", [])
                 if p["in"] == "path"), 0)
    return re.sub(r"\{[^}]*\}", UNKNOWN.get(size, ""), path)


def every_operation_is_answered(world, document):
    tried = 0
    for path, method, operation in document.operations():
        if path == "/v1/drain":
            continue  # last of all
        tried += 1
        target, asked = filled(path, operation), admin if "admin" in operation["tags"] else public
        status, kind, text, _ = asked(world, method, target)
        if "exchange" in operation["tags"]:
            assert status == 404 and text == "not found\n", (path, status, text)  # as every unknown capability
        else:
            assert status != 405 and "no such path" not in text, (method, path, status, text)
            document.check_answer(method, target, status, kind, text)
        if "{" not in path and "admin" in operation["tags"]:
            head = admin(world, "HEAD", target)
            gets = "get" in document.root["paths"][path]
            wanted = 404 if target.startswith("/v1/gateway") else 200  # this server is no gateway
            assert head[0] == (wanted if gets else 405), (path, head)
        if operation.get("x-listener") == "socket":
            status, kind, text, _ = admin_tcp(world, method, target)
            assert status == 403, (path, status)
            document.check_answer(method, target, status, kind, text)
        elif operation.get("x-listener") == "both":
            assert admin_tcp(world, method, target)[0] == 200, path
    print(f"ok: {tried} operations are answered as documented")


def nothing_else_is_answered(world, document):
    known = {}
    for path, method, operation in document.operations():
        known.setdefault((filled(path, operation), operation["tags"][0]), set()).add(method)
    for (target, tag), methods in known.items():
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH"} - methods:
            asked = admin if tag == "admin" else public
            status, _, _, allow = asked(world, method, target)
            if tag == "exchange":
                assert status == 404, (method, target, status)
                continue
            assert status == 405, (method, target, status)
            assert set(allow.split(", ")) == methods | ({"HEAD"} if "GET" in methods and tag == "admin" else set()), (target, allow)
    for target in ("/", "/v1", "/v2/status", "/v1/users/" + "ab" * 32 + "/devices", "/openapi.yaml"):
        assert admin(world, "GET", target)[0] == 404, target
    for target in ("/api/ens/", "/api/ens/subscribe/", "/api/ens/register", "/v1/status", "/metrics", "/openapi.json"):
        assert public(world, "GET", target)[0] == 404, target
    print("ok: other methods and paths are refused")


def a_whole_life_fits_the_schemas(world, document):
    def device(route, body):
        document.check(body, document.operation("POST", f"/api/ens/{route}")["requestBody"]["content"]["application/json"]["schema"], route)
        status, kind, text, _ = public(world, "POST", f"/api/ens/{route}", json.dumps(body))
        document.check_answer("POST", f"/api/ens/{route}", status, kind, text)
        return status, json.loads(text) if text else None

    import hashlib
    user = hashlib.sha256(b"user1@example.com").hexdigest()
    status, key = device("getpublickey", {"userId": user})
    assert status == 200
    who = {"userId": user, "deviceId": "device-1"}
    bad = {**who, "keyId": key["keyId"], "credentials": "x", "ewsUrl": world.ews_url, "platform": "apns", "pushToken": "00" * 32}
    assert device("subscribe", bad)[0] in (403, 422)
    assert device("subscribe", {**bad, "platform": "fcm"})[0] == 422
    assert device("checkin", {**who, "deviceSecret": "x"})[1]["status"] == "unknown"
    assert device("updatetoken", {**who, "deviceSecret": "x", "pushToken": "00" * 32})[0] == 403
    for body in ("", "{", "[]", "{}", '{"userId":7}'):
        status, kind, text, _ = public(world, "POST", "/api/ens/getpublickey", body)
        assert status == 422, (body, status)
        document.check_answer("POST", "/api/ens/getpublickey", status, kind, text)
    status, kind, text, _ = public(world, "POST", "/api/ens/subscribe", '{"x":"' + "y" * 70000 + '"}')
    assert status == 413
    document.check_answer("POST", "/api/ens/subscribe", status, kind, text)
    status, kind, text, _ = public(world, "POST", "/api/ens/checkin", "{}", token=False)
    assert status == 401
    document.check_answer("POST", "/api/ens/checkin", status, kind, text)

    secret = re.search(r"device secret (\S+)", world.device("subscribe", 1).stdout)[1]  # the JWE is made by the command
    wait_until("the subscription is active", lambda: device("checkin", {**who, "deviceSecret": secret})[1]["status"] == "active")
    world.exchange("POST", "/deliver", {"address": "user1@example.com", "subject": "a mail"})
    wait_until("its mail is pushed", lambda: world.pushes()["pushes"])
    assert device("updatetoken", {**who, "deviceSecret": secret, "pushToken": "12" * 32})[0] == 204

    def operator(method, target, body=None, wanted=200):
        status, kind, text, _ = admin(world, method, target, body)
        assert status == wanted, (method, target, status, text)
        document.check_answer(method, target.split("?")[0], status, kind, text)
        return json.loads(text) if text else None

    for target in ("/v1/status", "/v1/outcomes", "/v1/tokens", "/livez", "/readyz", "/startupz"):
        operator("GET", target)
    assert operator("GET", "/openapi.json") == document.root
    users = operator("GET", f"/v1/users?tenant=demo&userId={user}")["users"]
    assert len(users) == 1 and users[0]["subscription"]["state"] == "active"
    whole = operator("GET", f"/v1/users/{users[0]['id']}")
    assert whole["devices"] == operator("GET", f"/v1/devices?tenant=demo&userId={user}&deviceId=device-1")["devices"]
    operator("GET", "/v1/devices?limit=1")
    subscription = operator("GET", "/v1/subscriptions")["subscriptions"][0]
    assert operator("GET", f"/v1/subscriptions/{subscription['id']}")["user"] == users[0]["id"]
    operator("GET", f"/v1/devices/{whole['devices'][0]['id']}")
    operator("GET", "/v1/users?limit=0", wanted=422)
    operator("DELETE", f"/v1/subscriptions/{subscription['id']}", wanted=204)
    operator("DELETE", f"/v1/devices/{whole['devices'][0]['id']}")
    token = operator("POST", "/v1/tokens", '{"tenant":"demo"}', wanted=201)
    operator("POST", "/v1/tokens", '{"tenant":"nobody"}', wanted=422)
    operator("POST", "/v1/tokens", '{"tenant":"' + "x" * 5000 + '"}', wanted=413)
    operator("DELETE", f"/v1/tokens/{token['id']}", wanted=204)
    operator("GET", "/v1/tokens")
    operator("POST", "/v1/drain", wanted=202)
    print("ok: a device's whole life and what an operator asks fit the schemas")


def the_check_finds_what_is_wrong(document):
    """Positive control: answers that are wrong in one place each."""
    good = {"status": "active", "action": "none"}
    document.check_answer("POST", "/api/ens/checkin", 200, "application/json", json.dumps(good))
    for status, kind, body in ((200, "application/json", {**good, "more": 1}), (200, "application/json", {"status": "active"}),
                               (200, "application/json", {**good, "status": "fine"}), (200, "text/plain", good),
                               (418, "application/json", good), (200, "application/json", {**good, "lastSeen": 7})):
        try:
            document.check_answer("POST", "/api/ens/checkin", status, kind, json.dumps(body))
        except AssertionError:
            continue
        raise SystemExit(f"the check lets {status} {kind} {body} pass")


def main():
    document = Document()
    the_check_finds_what_is_wrong(document)
    with World(mailboxes=1) as world:
        world.start_standins()
        world.start_server()
        every_operation_is_answered(world, document)
        nothing_else_is_answered(world, document)
        a_whole_life_fits_the_schemas(world, document)
        assert world.server.wait(20) == 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
