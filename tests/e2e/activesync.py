# SPDX-License-Identifier: Apache-2.0
"""A phone as ActiveSync servers see it: WBXML and the commands of MS-ASCMD, written from the specification alone, so that it is a
second opinion on what the stand-in reads and writes.
"""
import base64
import http.client
import ssl
import struct

# Code pages of MS-ASWBXML, as far as they are used here: name, number, and tags from 0x05 on.
PAGES = {
    "AirSync": (0, {0x05: "Sync", 0x07: "Add", 0x0b: "SyncKey", 0x0d: "ServerId", 0x0e: "Status", 0x0f: "Collection", 0x12: "CollectionId",
                    0x13: "GetChanges", 0x14: "MoreAvailable", 0x15: "WindowSize", 0x16: "Commands", 0x1c: "Collections",
                    0x1d: "ApplicationData", 0x24: "Wait", 0x25: "Limit", 0x29: "HeartbeatInterval"}),
    "Contacts": (1, {0x1e: "FileAs", 0x1f: "FirstName", 0x29: "LastName"}),
    "Email": (2, {0x0f: "DateReceived", 0x12: "Importance", 0x13: "MessageClass", 0x14: "Subject", 0x15: "Read", 0x18: "From"}),
    "FolderHierarchy": (7, {0x07: "DisplayName", 0x08: "ServerId", 0x09: "ParentId", 0x0a: "Type", 0x0c: "Status", 0x0e: "Changes",
                            0x0f: "Add", 0x12: "SyncKey", 0x16: "FolderSync", 0x17: "Count"}),
    "Ping": (13, {0x05: "Ping", 0x07: "Status", 0x08: "HeartbeatInterval", 0x09: "Folders", 0x0a: "Folder", 0x0b: "Id", 0x0c: "Class"}),
    "Provision": (14, {0x05: "Provision", 0x06: "Policies", 0x07: "Policy", 0x08: "PolicyType", 0x09: "PolicyKey", 0x0a: "Data",
                       0x0b: "Status", 0x0c: "RemoteWipe", 0x0d: "EASProvisionDoc", 0x0e: "DevicePasswordEnabled"}),
    "AirSyncBase": (17, {0x11: "FileReference", 0x17: "ContentType"}),
    "Settings": (18, {0x05: "Settings", 0x06: "Status", 0x08: "Set", 0x16: "DeviceInformation", 0x17: "Model", 0x19: "FriendlyName",
                      0x1a: "OS"}),
    "ItemOperations": (20, {0x05: "ItemOperations", 0x06: "Fetch", 0x07: "Store", 0x0b: "Properties", 0x0c: "Data", 0x0d: "Status",
                            0x0e: "Response"}),
    "ComposeMail": (21, {0x05: "SendMail", 0x10: "Mime", 0x11: "ClientId", 0x12: "Status"}),
}
CODES = {f"{page}:{tag}": (number, code) for page, (number, tags) in PAGES.items() for code, tag in tags.items()}
NAMES = {value: name for name, value in CODES.items()}
COMMANDS = {"Sync": 0, "SendMail": 1, "GetAttachment": 4, "FolderSync": 9, "Settings": 17, "Ping": 18, "ItemOperations": 19, "Provision": 20}
HEADER = b"\x03\x01\x6a\x00"


class Element:
    """"Page:Tag" with a text, opaque bytes, or children."""

    def __init__(self, name, *content):
        self.name = name
        self.children = [one for one in content if isinstance(one, Element)]
        self.text = next((one for one in content if isinstance(one, str)), "")
        self.data = next((one for one in content if isinstance(one, bytes)), None)

    def find(self, path):
        """The first element below at "Page:Tag/Page:Tag", or None."""
        here = self
        for name in path.split("/"):
            here = next((one for one in here.children if one.name == name), None)
            if here is None:
                return None
        return here

    def all(self, name):
        return [one for one in self.children if one.name == name]

    def value(self, path):
        found = self.find(path)
        return None if found is None else found.text


def encode(root):
    out = bytearray(HEADER)
    page = 0

    def write(element):
        nonlocal page
        number, code = CODES[element.name]
        if number != page:
            out.extend((0x00, number))
            page = number
        if not element.children and not element.text and element.data is None:
            out.append(code)
            return
        out.append(code | 0x40)
        if element.data is not None:
            size = len(element.data)
            length = [size & 0x7f]
            while size := size >> 7:
                length.insert(0, size & 0x7f | 0x80)
            out.append(0xc3)
            out.extend(length)
            out.extend(element.data)
        elif element.text:
            out.extend(b"\x03" + element.text.encode() + b"\x00")
        for child in element.children:
            write(child)
        out.append(0x01)

    write(root)
    return bytes(out)


def decode(document):
    assert document[:4] == HEADER, document[:16]
    at = 4
    page = 0
    stack = [Element(":")]
    while at < len(document):
        token = document[at]
        at += 1
        if token == 0x00:
            page = document[at]
            at += 1
        elif token == 0x01:
            stack.pop()
        elif token == 0x03:
            end = document.index(0, at)
            stack[-1].text += document[at:end].decode()
            at = end + 1
        elif token == 0xc3:
            size = 0
            while True:
                size = size << 7 | document[at] & 0x7f
                at += 1
                if not document[at - 1] & 0x80:
                    break
            stack[-1].data = (stack[-1].data or b"") + document[at:at + size]
            at += size
        else:
            assert not token & 0x80, hex(token)
            element = Element(NAMES.get((page, token & 0x3f)) or f"{page}:{token & 0x3f:02x}")
            stack[-1].children.append(element)
            if token & 0x40:
                stack.append(element)
    assert len(stack) == 1 and len(stack[0].children) == 1, "not one root element"
    return stack[0].children[0]


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        typed = (headers.get("Content-Type") or "").startswith("application/vnd.ms-sync.wbxml")
        self.root = decode(body) if typed and body[:4] == HEADER else None

    def value(self, path):
        return None if self.root is None else self.root.value(path)


class Phone:
    """One device of one mailbox, over one connection at a time. `device_id` may be text, or 16 raw bytes with base64 queries."""

    def __init__(self, host, port, ca, user, password, device_id="F00DF00DF00DF00D", device_type="iPhone", version="14.1",
                 user_agent="Apple-iPhone8C4/1504.100", base64_query=False, authorization=None, timeout=60, headers=None):
        self.host, self.port = host, port
        self.tls = ssl.create_default_context(cafile=ca)
        self.user, self.device_id, self.device_type = user, device_id, device_type
        self.version, self.user_agent, self.base64_query = version, user_agent, base64_query
        self.authorization = authorization or "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self.headers = headers or {}
        self.timeout = timeout
        self.policy_key = 0
        self.cookies = {}
        self.connection = None
        self.folder_key = "0"
        self.sync_keys = {}

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def query(self, command):
        if not self.base64_query:
            return f"User={self.user}&DeviceId={self.device_id}&DeviceType={self.device_type}&Cmd={command}"
        identity = self.device_id if isinstance(self.device_id, bytes) else self.device_id.encode()
        kind = self.device_type.encode()
        major, minor = self.version.split(".")
        return base64.b64encode(bytes((int(major) * 10 + int(minor), COMMANDS[command])) + struct.pack("<H", 0x0409) +
                                bytes((len(identity),)) + identity + b"\x04" + struct.pack("<I", self.policy_key) +
                                bytes((len(kind),)) + kind).decode()

    def request(self, method, target, body=b"", headers=None):
        if not self.connection:
            self.connection = http.client.HTTPSConnection(self.host, self.port, context=self.tls, timeout=self.timeout)
        fields = {"Authorization": self.authorization, "User-Agent": self.user_agent, **self.headers, **(headers or {})}
        if self.cookies:
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            self.connection.request(method, target, body=body if method == "POST" else None, headers=fields)
            answer = self.connection.getresponse()
            content = answer.read()
        except BaseException:
            self.close()
            raise
        for value in answer.headers.get_all("Set-Cookie") or ():
            name, _, rest = value.partition("=")
            self.cookies[name] = rest.split(";")[0]
        if answer.will_close:
            self.close()
        return Answer(answer.status, answer.headers, content)

    def options(self):
        return self.request("OPTIONS", "/Microsoft-Server-ActiveSync")

    def command(self, name, root=None, body=None, content_type="application/vnd.ms-sync.wbxml", query=None):
        content = encode(root) if root is not None else body or b""
        headers = {"Content-Type": content_type} if content else {}
        if not self.base64_query:
            headers["MS-ASProtocolVersion"] = self.version
            if name != "Ping":
                headers["X-MS-PolicyKey"] = str(self.policy_key)
        return self.request("POST", f"/Microsoft-Server-ActiveSync?{query or self.query(name)}", content, headers)

    def provision(self):
        """Both phases; the answer of the last. A wipe that is asked for is acknowledged."""
        kind = Element("Provision:PolicyType", "MS-EAS-Provisioning-WBXML")
        answer = self.command("Provision", Element("Provision:Provision", Element("Provision:Policies", Element("Provision:Policy", kind))))
        if answer.status != 200:
            return answer
        if answer.root.find("Provision:RemoteWipe") is not None:
            done = Element("Provision:RemoteWipe", Element("Provision:Status", "1"))
            return self.command("Provision", Element("Provision:Provision", done))
        policy = "Provision:Policies/Provision:Policy/Provision:PolicyKey"
        key = answer.value(policy)
        answer = self.command("Provision", Element("Provision:Provision", Element("Provision:Policies", Element(
            "Provision:Policy", kind, Element("Provision:PolicyKey", key), Element("Provision:Status", "1")))))
        if answer.value(policy):
            self.policy_key = int(answer.value(policy))
        return answer

    def folder_sync(self):
        answer = self.command("FolderSync", Element("FolderHierarchy:FolderSync", Element("FolderHierarchy:SyncKey", self.folder_key)))
        self.folder_key = answer.value("FolderHierarchy:SyncKey") or self.folder_key
        return answer

    def sync(self, collection="1", window=100, wait_s=0, key=None):
        """Subjects that arrived, or the answer where it is none that says so."""
        root = Element("AirSync:Sync", Element("AirSync:Collections", Element(
            "AirSync:Collection", Element("AirSync:SyncKey", key or self.sync_keys.get(collection, "0")),
            Element("AirSync:CollectionId", collection), Element("AirSync:GetChanges"), Element("AirSync:WindowSize", str(window)))))
        if wait_s:
            root.children.append(Element("AirSync:HeartbeatInterval", str(wait_s)))
        answer = self.command("Sync", root)
        found = answer.root.find("AirSync:Collections/AirSync:Collection") if answer.root else None
        if found is not None and found.value("AirSync:Status") == "1":
            self.sync_keys[collection] = found.value("AirSync:SyncKey")
        return answer

    @staticmethod
    def subjects(answer):
        found = answer.root.find("AirSync:Collections/AirSync:Collection/AirSync:Commands") if answer.root else None
        return [one.value("AirSync:ApplicationData/Email:Subject") for one in found.all("AirSync:Add")] if found else []

    def ping(self, seconds=3540, folders=("1",)):
        asked = [Element("Ping:Folder", Element("Ping:Id", one), Element("Ping:Class", "Email")) for one in folders]
        return self.command("Ping", Element("Ping:Ping", Element("Ping:HeartbeatInterval", str(seconds)), Element("Ping:Folders", *asked)))

    def settings(self, model="iPhone8,4", system="iOS 15.4"):
        return self.command("Settings", Element("Settings:Settings", Element("Settings:DeviceInformation", Element(
            "Settings:Set", Element("Settings:Model", model), Element("Settings:OS", system), Element("Settings:FriendlyName", "Phone")))))

    def send_mail(self, mime):
        if self.version.startswith("12"):
            return self.command("SendMail", body=mime, content_type="message/rfc822", query=self.query("SendMail") + "&SaveInSent=T")
        return self.command("SendMail", Element("ComposeMail:SendMail", Element("ComposeMail:ClientId", "1"), Element("ComposeMail:Mime", mime)))

    def ready(self):
        """Folder hierarchy and Inbox are synchronised: mail that comes now is news."""
        assert self.folder_sync().status == 200
        assert self.sync().status == 200
        while self.sync().body:
            pass
        return self
