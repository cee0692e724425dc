#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a service manager sees of the server, with a hand-made one: notifications, watchdog, socket activation without
privileges, credentials, `bellhop healthcheck`, and the unit files."""
import ctypes
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import BIN, World, wait_until  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NOBODY = 65534
PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000
# Gives sockets the numbers that systemd gives them, drops privileges, and becomes the server, all in one process.
LAUNCHER = """
import os, sys
descriptors, names, user = eval(sys.argv[1]), sys.argv[2], int(sys.argv[3])
high = [os.dup(fd) for fd in descriptors]
high = [fd if fd > 40 else __import__('fcntl').fcntl(fd, 0, 40) for fd in high]
for at, fd in enumerate(high):
    os.dup2(fd, 3 + at)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(high)), LISTEN_FDNAMES=names)
if user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
os.execv(sys.argv[4], sys.argv[4:])
"""


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, folder, abstract=False):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.path = f"@bellhop-test-{os.getpid()}" if abstract else f"{folder}/notify"
        self.socket.bind("\0" + self.path[1:] if abstract else self.path)
        self.socket.setblocking(False)
        self.messages = []  # (monotonic time, text)

    def read(self):
        while True:
            try:
                self.messages.append((time.monotonic(), self.socket.recv(4096).decode()))
            except BlockingIOError:
                return self.messages

    def wait_for(self, what, after=0):
        """The number of the first message from `after` on that holds a line `what`."""
        def found():
            for number, (_, text) in enumerate(self.read()):
                if number >= after and what in text.split("\n"):
                    return number + 1
            return None
        return wait_until(f"the message {what}", found) - 1

    def count(self, what, since):
        return sum(1 for at, text in self.read() if at >= since and what in text.split("\n"))


def core_threads(pid):
    threads = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm") as file:
            name = file.read().strip()
        if name.startswith("bellhop-core-"):
            threads[int(name.rsplit("-", 1)[1])] = int(task)
    return threads


def notifications(world):
    manager = Manager(world.folder)
    env = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "2000000"}
    world.start_server(token=False, env=env)
    ready = manager.wait_for("READY=1")
    assert manager.messages[ready][1] == "READY=1\nSTATUS=serving, configuration 1", manager.messages
    socket.create_connection(("127.0.0.1", world.public_port), timeout=5).close()
    with open(f"/proc/{world.server.pid}/status") as file:
        assert "Threads" in file.read()

    world.server.send_signal(signal.SIGHUP)
    reloading = manager.wait_for("STATUS=reloading", ready + 1)
    fields = dict(line.split("=", 1) for line in manager.messages[reloading][1].split("\n"))
    assert fields["RELOADING"] == "1", fields
    assert abs(time.monotonic() * 1e6 - int(fields["MONOTONIC_USEC"])) < 30e6, fields
    again = manager.wait_for("READY=1", reloading)
    assert "core_silent" not in world.log_of("server"), "no core is late at the start"
    with open(world.config) as file:
        good = file.read()
    with open(world.config, "w") as file:
        file.write(good.replace("pool_target = 16", "pool_target = 0"))
    world.server.send_signal(signal.SIGHUP)
    refused = manager.wait_for("READY=1", again + 1)
    assert "the last reload was refused: " + world.config in manager.messages[refused][1], manager.messages[refused]
    with open(world.config, "w") as file:
        file.write(good)
    print("ok: READY, RELOADING with its time, READY again, and why a reload was refused")
    return manager


def watchdog(world, manager):
    begun = time.monotonic()
    wait_until("pings come", lambda: manager.count("WATCHDOG=1", begun) >= 3)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def stop(thread):
        """Stops one thread of the server, as a loop that never ends would; False where that is not permitted."""
        if libc.ptrace(PTRACE_SEIZE, thread, None, None) != 0:
            return False
        assert libc.ptrace(PTRACE_INTERRUPT, thread, None, None) == 0, ctypes.get_errno()
        os.waitpid(thread, WALL)
        return True

    for core, thread in sorted(core_threads(world.server.pid).items()):
        if not stop(thread):
            print("skipped: this process may not stop single threads of another (ptrace); as root it may")
            return
        stopped = time.monotonic()
        # A core that misses half of the watchdog's 2 s is silent: then nothing may come, up to when we would be killed.
        wait_until("the watchdog's time passes", lambda: manager.read() and time.monotonic() > stopped + 3.5)
        late = manager.count("WATCHDOG=1", stopped + 1.6)
        assert libc.ptrace(PTRACE_DETACH, thread, None, None) == 0, ctypes.get_errno()
        assert late == 0, f"{late} pings although core {core} was stuck"
        freed = time.monotonic()
        wait_until("pings come again", lambda: manager.count("WATCHDOG=1", freed) >= 2)
    assert '"event":"core_silent"' in world.log_of("server")
    print("ok: pings come while every core turns, and stop while one of them is stuck")


def healthcheck(world, manager):
    address = f"127.0.0.1:{world.admin_port}"
    targets = (["--socket", world.socket], ["--address", address], ["--config", world.config])
    for target in targets:
        done = world.run("healthcheck", *target, check=False)
        assert done.returncode == 0 and done.stdout == "ready\n", (target, done)
    for wrong in (["--address", "nonsense"], ["--socket", "a", "--address", address], ["--timeout-ms", "0"],
                  ["--config", f"{world.folder}/absent.toml"]):
        assert world.run("healthcheck", *wrong, check=False).returncode == 2, wrong
    # Somebody who listens and never answers.
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        done = world.run("healthcheck", "--address", f"127.0.0.1:{mute.getsockname()[1]}", "--timeout-ms", "300", check=False)
        assert done.returncode == 1 and done.stdout.startswith("no answer: "), done

    # A request without its body keeps the server draining.
    token = world.run("token", "add", "--tenant", "demo", "--plain", "--socket", world.socket).stdout.strip()
    context = ssl.create_default_context(cafile=f"{world.folder}/ca.pem")
    with context.wrap_socket(socket.create_connection(("127.0.0.1", world.public_port)), server_hostname="localhost") as busy:
        busy.sendall(b"POST /api/ens/getpublickey HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
                     b"Content-Type: application/json\r\nExpect: 100-continue\r\nApiToken: %s\r\n\r\n" % token.encode())
        answer = busy.recv(4096)
        assert answer.startswith(b"HTTP/1.1 100 "), answer
        world.server.send_signal(signal.SIGTERM)
        stopping = manager.wait_for("STOPPING=1")
        world.server.send_signal(signal.SIGHUP)  # too late
        done = world.run("healthcheck", "--socket", world.socket, check=False)
        drained = world.server.poll() is not None
        assert drained or (done.returncode == 1 and done.stdout == "not ready: draining\n"), done
    assert world.server.wait(20) == 0
    assert not [text for _, text in manager.read()[stopping + 1:] if "READY=1" in text], manager.messages[stopping:]
    for target in targets:
        done = world.run("healthcheck", *target, check=False)
        assert done.returncode == 1 and done.stdout.startswith("no answer: "), (target, done)
    print("ok: STOPPING; healthcheck of a running, a draining, a mute and a dead server")


def listening(address):
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(address)
    one.listen(128)
    one.setblocking(False)  # as systemd's are
    return one


def launch(world, descriptors, names, user, env=None):
    log = open(f"{world.folder}/server.log", "ab")
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, repr(descriptors), names, str(user), f"{BIN}/bellhopd", "--config", world.config],
        pass_fds=descriptors, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})
    world.processes.append(process)
    return process


def socket_activation(world):
    """Port 443's kin, a unix socket in a folder that is not ours to write, and no privileges."""
    root = os.getuid() == 0
    user = NOBODY if root else 0
    if root:
        for port in range(700, 1000):
            try:
                public = listening(("127.0.0.1", port))
                break
            except OSError:
                continue
        for folder, _, files in os.walk(world.folder):
            for name in [folder, *(f"{folder}/{file}" for file in files)]:
                os.chown(name, NOBODY, NOBODY)
        os.mkdir(f"{world.folder}/run", 0o755)  # root's
    else:
        public = listening(("127.0.0.1", 0))
        os.mkdir(f"{world.folder}/run")
    world.public_port = public.getsockname()[1]
    world.socket = f"{world.folder}/run/admin.sock"
    admin = socket.socket(socket.AF_UNIX)
    admin.bind(world.socket)
    os.chmod(world.socket, 0o666)
    admin.listen(16)
    os.mkdir(f"{world.folder}/credentials")
    os.rename(f"{world.folder}/keyring", f"{world.folder}/credentials/keyring")
    os.chmod(f"{world.folder}/credentials/keyring", 0o440)  # as systemd does it where it sets an access list
    world.write_config()
    with open(world.config) as file:
        text = file.read().replace(f'"{world.folder}/keyring"', '"${CREDENTIALS_DIRECTORY}/keyring"')
    with open(world.config, "w") as file:
        file.write(text)
    manager = Manager(world.folder, abstract=True)
    env = {"NOTIFY_SOCKET": manager.path, "CREDENTIALS_DIRECTORY": f"{world.folder}/credentials"}
    if root:
        for folder, _, files in os.walk(f"{world.folder}/credentials"):
            for name in [folder, *(f"{folder}/{file}" for file in files)]:
                os.chown(name, NOBODY, NOBODY)

    world.server = launch(world, [public.fileno(), admin.fileno()], "public:admin", user, env)
    manager.wait_for("READY=1")
    if root:
        assert os.stat(f"/proc/{world.server.pid}").st_uid in (0, NOBODY)
        with open(f"/proc/{world.server.pid}/status") as file:
            assert re.search(rf"^Uid:\s+{NOBODY}\s+{NOBODY}", file.read(), re.M), "it must run as nobody"
    context = ssl.create_default_context(cafile=f"{world.folder}/ca.pem")
    connections = []
    for _ in range(64):
        connections.append(context.wrap_socket(socket.create_connection(("127.0.0.1", world.public_port), timeout=10),
                                               server_hostname="localhost"))
    for one in connections:
        one.sendall(b"GET /api/ens/alive HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    for one in connections:
        assert b" 200 " in one.recv(4096)
        one.close()
    assert world.run("healthcheck", "--socket", world.socket).returncode == 0
    assert world.run("check", world.config, check=False, env={"CREDENTIALS_DIRECTORY": ""}).returncode == 1
    # A restart finds the sockets as they were: connections wait in them meanwhile.
    world.server.send_signal(signal.SIGTERM)
    waiting = socket.create_connection(("127.0.0.1", world.public_port), timeout=30)
    assert world.server.wait(20) == 0, world.log_of("server")
    served, busiest = map(int, re.findall(r'"event":"drained","requests":(\d+),"busiest_core":(\d+)', world.log_of("server"))[-1])
    assert served == 64, served
    assert busiest <= 56, f"one core serves nearly all of what an inherited socket brings: {busiest} of {served}"
    world.server = launch(world, [public.fileno(), admin.fileno()], "public:admin", user, env)
    with context.wrap_socket(waiting, server_hostname="localhost") as one:
        one.sendall(b"GET /api/ens/alive HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b" 200 " in one.recv(4096)
    world.server.send_signal(signal.SIGTERM)
    assert world.server.wait(20) == 0
    print(f"ok: socket activation {'as nobody, port ' + str(world.public_port) if root else 'without privileges'}; {served} requests")

    with listening(("127.0.0.1", 0)) as foreign:
        for descriptors, names, why in (
                ([foreign.fileno()], "public", "it listens on 127.0.0.1:"),
                ([public.fileno()], "admin", r"\[listen.admin\] names"),
                ([public.fileno()], "unknown", "FileDescriptorName="),
                ([public.fileno(), public.fileno()], "public:public", "given twice"),
                ([manager.socket.fileno()], "public", "no listening stream socket")):
            before = len(world.log_of("server"))
            wrong = launch(world, descriptors, names, user, env)
            assert wrong.wait(20) == 1
            assert re.search(why, world.log_of("server")[before:]), (why, world.log_of("server")[before:])
    print("ok: sockets that the configuration does not ask for are refused")


def unit_files():
    verify = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"]
    units = [f"{ROOT}/packaging/systemd/{name}" for name in ("bellhop.service", "bellhop.socket")]
    for unit in units:
        assert os.path.exists(unit), unit
    try:
        done = subprocess.run([*verify, *units], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        print("skipped: no systemd-analyze here to check the unit files with")
        return
    if "Failed to" in done.stderr and done.returncode != 0 and "bellhop" not in done.stderr:
        print("skipped: systemd-analyze does not work here:", done.stderr.strip().splitlines()[-1])
        return
    # The programs are not installed where the units look for them; nothing else may be wrong.
    faults = [line for line in done.stderr.splitlines() if "bellhop" in line and "is not executable" not in line]
    assert not faults, "\n".join(faults)
    print("ok: systemd-analyze finds no fault in the unit files")


def main():
    unit_files()
    with World(cores=2) as world:
        world.start_standins()
        manager = notifications(world)
        watchdog(world, manager)
        healthcheck(world, manager)
        socket_activation(world)
    return 0


if __name__ == "__main__":
    sys.exit(main())
