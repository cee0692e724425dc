# SPDX-License-Identifier: Apache-2.0
"""Real processes for end-to-end tests: the server and both stand-ins on loopback, in a folder of their own.

Everything that is started here is ended here, by its own process id. Programs come from $BELLHOP_BIN.
"""
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

BIN = os.environ.get("BELLHOP_BIN", "build/release/bin")
PRELOAD = os.path.realpath(os.path.join(BIN, "..", "preload"))  # libraries of ours for LD_PRELOAD
SKIP = 77  # ctest's SKIP_RETURN_CODE


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_until(what, predicate, seconds=30.0):
    """Asks again until the predicate gives something true; fails with the name of what did not come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = predicate()
        if value:
            return value
        time.sleep(0.02)  # between two looks at another process, which cannot tell us
    raise AssertionError(f"did not happen within {seconds} s: {what}")


class World:
    """Stand-ins and, after start_server(), a server. Use as a context manager."""

    def __init__(self, mailboxes=3, password="correct horse", cores=1, keep_payloads=True, server_config="",
                 listener_config="", tenant_config="", time_scale=1.0, http2=False, exchange_options=(),
                 domain="example.com", server_cpus=None, other_cpus=None, apns_options=()):
        self.folder = tempfile.mkdtemp(prefix="bellhop-e2e-")
        self.password = password
        self.mailboxes = mailboxes
        self.cores = cores
        self.keep_payloads = keep_payloads
        self.server_config = server_config
        self.listener_config = listener_config  # more keys of [listen.public]
        self.tenant_config = tenant_config  # further lines of the [[tenant]]
        self.time_scale = time_scale        # of Exchange's heartbeats and retries
        self.version = ["--http2"] if http2 else []  # how devices and callbacks come
        self.exchange_options = exchange_options  # further options of its stand-in
        self.apns_options = apns_options  # further options of the APNs stand-in
        self.domain = domain
        self.server_cpus = server_cpus  # CPUs that the server may use, and those of everything else; None: all
        self.other_cpus = other_cpus
        self.processes = []
        (self.ews_port, self.exchange_control, self.apns_port, self.apns_control, self.public_port,
         self.admin_port, self.token_port, self.token_control, self.autodiscover_port) = free_ports(9)
        self.socket = f"{self.folder}/admin.sock"
        # How the app logs on to APNs.
        self.app_config = f'team_id = "EXAMPLE123"\nkey_id = "KEYEXAMPLE"\nkey_file = "{self.folder}/apns.p8"'
        self.config = f"{self.folder}/bellhop.toml"
        self.url = f"https://localhost:{self.public_port}"
        self.ews_url = f"https://localhost:{self.ews_port}/EWS/Exchange.asmx"
        self.server = None
        self.token = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in reversed(self.processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            if process.poll() is None:
                process.kill()
                process.wait()
        if os.environ.get("BELLHOP_KEEP"):
            print("kept:", self.folder, file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def on_cpus(cpus):
        return ["taskset", "-c", ",".join(map(str, cpus))] if cpus else []

    def spawn(self, name, *arguments, env=None, under=()):
        log = open(f"{self.folder}/{name}.log", "ab")
        process = subprocess.Popen([*self.on_cpus(self.server_cpus if name == "server" else self.other_cpus),
                                    *under, f"{BIN}/{arguments[0]}", *arguments[1:]], stdout=log, stderr=log,
                                   stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})
        self.processes.append(process)
        return process

    def log_of(self, name):
        with open(f"{self.folder}/{name}.log", errors="replace") as file:
            return file.read()

    def run(self, *arguments, check=True, env=None, seconds=120):
        """A command of `bellhop`, to its end."""
        done = subprocess.run([*self.on_cpus(self.other_cpus), f"{BIN}/bellhop", *arguments], capture_output=True, text=True, timeout=seconds,
                              env={**os.environ, **(env or {})})
        if check and done.returncode != 0:
            raise AssertionError(f"bellhop {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def start_standins(self):
        self.spawn("exchange", "bellhop", "stand-in", "exchange", "--folder", self.folder,
                   "--listen", f"127.0.0.1:{self.ews_port}", "--control", f"127.0.0.1:{self.exchange_control}",
                   "--mailboxes", str(self.mailboxes), "--password", self.password, "--time-scale", str(self.time_scale),
                   "--domain", self.domain, *self.version, *self.exchange_options)
        wait_until("the Exchange stand-in answers", lambda: self.exchange("GET", "/books", check=False))
        apns = ["--keep-payloads"] if self.keep_payloads else []
        self.spawn("apns", "bellhop", "stand-in", "apns", "--folder", self.folder,
                   "--listen", f"127.0.0.1:{self.apns_port}", "--control", f"127.0.0.1:{self.apns_control}", *apns, *self.apns_options)
        wait_until("the APNs stand-in answers", lambda: self.apns("GET", "/books", check=False))

    def start_tokens(self, lifetime=3600, grace=0):
        """The token stand-in: access tokens live for `lifetime` seconds, spent refresh tokens are taken for `grace`."""
        self.spawn("token", "bellhop", "stand-in", "token", "--folder", self.folder,
                   "--listen", f"127.0.0.1:{self.token_port}", "--control", f"127.0.0.1:{self.token_control}",
                   "--lifetime", str(lifetime), "--grace", str(grace))
        wait_until("the token stand-in answers", lambda: self.tokens("GET", "/books", check=False))

    def write_config(self):
        with open(self.config, "w") as file:
            file.write(f"""
public_url = "{self.url}"
data_dir = "{self.folder}/data"
keyring_file = "{self.folder}/keyring"
cores = {self.cores}
[listen.public]
addresses = ["127.0.0.1:{self.public_port}"]
certificate_file = "{self.folder}/server.pem"
private_key_file = "{self.folder}/server-key.pem"
connections_per_address_max = 100000
{"" if "per_second" in self.listener_config else "connections_per_address_per_second = 0"}
{self.listener_config}
[listen.admin]
address = "127.0.0.1:{self.admin_port}"
unix_socket = "{self.socket}"
[ews]
ca_file = "{self.folder}/ca.pem"
[oauth]
ca_file = "{self.folder}/ca.pem"
[apns]
production = "localhost:{self.apns_port}"
ca_file = "{self.folder}/ca.pem"
[keys]
pool_target = 16
{self.server_config}
[[tenant]]
id = "demo"
name = "Demo"
ews_hosts = ["localhost"]
ews_ports = [{self.ews_port}]
ews_private_cidrs = ["127.0.0.0/8", "::1/128"]
{self.tenant_config}
[[tenant.app]]
topic = "com.example.mail"
{self.app_config}
""")

    def start_server(self, token=True, env=None, under=()):
        """`under`: a command that runs the server, as strace does."""
        if not os.path.exists(f"{self.folder}/keyring"):
            self.run("keyring", "make", f"{self.folder}/keyring")
        self.write_config()
        self.server = self.spawn("server", "bellhopd", "--config", self.config, env=env, under=under)
        wait_until("the server is ready", self.ready)
        if token:
            wait_until("key pairs are made ahead",
                       lambda: self.metrics().get("bellhop_key_pool_keys", 0) >= min(self.mailboxes, 12), 120)
        if token and not self.token:
            self.token = self.run("token", "add", "--tenant", "demo", "--plain", "--socket", self.socket).stdout.strip()
        return self.server

    def ready(self):
        if self.server.poll() is not None:
            raise AssertionError("the server ended:\n" + self.log_of("server"))
        return self.admin("/readyz", check=False) is not None

    def http(self, method, url, body=None, check=True):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method, headers={"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read().decode() or "{}"
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            if check:
                detail = error.read().decode() if isinstance(error, urllib.error.HTTPError) else ""
                raise AssertionError(f"{method} {url}: {error} {detail}") from error
            return None

    def exchange(self, method, path, body=None, check=True):
        text = self.http(method, f"http://127.0.0.1:{self.exchange_control}{path}", body, check)
        return None if text is None else json.loads(text)

    def apns(self, method, path, body=None, check=True):
        text = self.http(method, f"http://127.0.0.1:{self.apns_control}{path}", body, check)
        return None if text is None else json.loads(text)

    def tokens(self, method, path, body=None, check=True):
        text = self.http(method, f"http://127.0.0.1:{self.token_control}{path}", body, check)
        return None if text is None else json.loads(text)

    def admin(self, path, check=True):
        return self.http("GET", f"http://127.0.0.1:{self.admin_port}{path}", None, check)

    def metrics(self):
        """All samples of /metrics: {'name{labels}': value}."""
        samples = {}
        for line in self.admin("/metrics").splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples

    def device(self, command, number, *more, check=True, secret=None, password=None, auth="basic", ews_url=True):
        """`bellhop device COMMAND` for mailbox `number` (from 1)."""
        arguments = ["device", command, "--server", self.url, "--api-token", self.token, "--ca", f"{self.folder}/ca.pem",
                     "--address", f"user{number}@{self.domain}", *self.version]
        if command != "getpublickey":
            arguments += ["--device-id", f"device-{number}"]
        if secret:
            arguments += ["--device-secret", secret]
        if command == "subscribe":
            arguments += ["--push-token", self.push_token(number), "--auth", auth]
            arguments += ["--ews-url", self.ews_url] if ews_url else []
            arguments += (["--token-control", f"127.0.0.1:{self.token_control}"] if auth == "oauth"
                          else ["--password", password or self.password])
        return self.run(*arguments, *more, check=check)

    @staticmethod
    def push_token(number):
        return f"{number:064x}"

    def pushes(self, after=0):
        return self.apns("GET", f"/pushes?after={after}")
