# SPDX-License-Identifier: Apache-2.0
"""A World whose server is a gateway too: EWS and ActiveSync of the stand-in behind one listener."""
import http.client
import json
import re
import socket

from processes import World, free_ports


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


class GatewayWorld(World):
    """`routes`: further [[gateway.route]] sections; `gateway`: lines of [gateway] and its tables; `policy`: lines from [policy] on;
    `endpoint`: further keys of both endpoints of the stand-in's route; `roles`: what the process does.
    """

    def __init__(self, *more, routes="", gateway="", policy="", endpoint="", roles=("public", "gateway"), listener="", **options):
        super().__init__(*more, **options)
        (self.gateway_port,) = free_ports(1)
        self.roles = roles
        self.policy = policy or "# policy"
        self.gateway_url = f"https://localhost:{self.gateway_port}/EWS/Exchange.asmx"
        upstream = f"""upstream = "https://localhost:{self.ews_port}"
ca_file = "{self.folder}/ca.pem"
{endpoint}"""
        self.server_config += f"""
[listen.gateway]
addresses = ["127.0.0.1:{self.gateway_port}"]
certificate_file = "{self.folder}/server.pem"
private_key_file = "{self.folder}/server-key.pem"
connections_per_address_max = 100000
connections_per_address_per_second = 0
{listener}
[gateway]
{gateway}
[[gateway.route]]
hosts = ["localhost"]
default_domain = "{self.domain}"
[gateway.route.ews]
{upstream}
[gateway.route.activesync]
{upstream}
{routes}
{self.policy}
"""

    def administer(self, method, path, body=None):
        """A request at the admin socket that succeeds; its JSON."""
        connection = UnixConnection(self.socket)
        connection.request(method, path, body=body, headers={"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert answer.status < 300, f"{method} {path}: {answer.status} {text}"
        return json.loads(text) if text else {}

    def comply(self, *devices, method="PATCH"):
        """What is known of devices: PATCH adds or changes, PUT replaces everything."""
        return self.administer(method, "/v1/compliance?tenant=demo", "".join(json.dumps(one) + "\n" for one in devices))

    def set_policy(self, policy):
        """Another policy, by a reload; it counts when this returns."""
        self.server_config = self.server_config.replace(self.policy, policy)
        self.policy = policy
        self.write_config()
        self.administer("POST", "/v1/reload")

    def write_config(self):
        super().write_config()
        with open(self.config) as file:
            text = file.read()
        with open(self.config, "w") as file:
            file.write("roles = [" + ", ".join(f'"{one}"' for one in self.roles) + "]\n" + text)


def memory_of(pid, field="VmRSS"):
    """Bytes of VmRSS, or of VmHWM: the most since reset_peak()."""
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(rf"{field}:\s+(\d+)", file.read()).group(1)) * 1024


def reset_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")


def cpu_seconds(pid):
    """User and system time of all threads, those of the kernel's workers for them included."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100
