#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The programs from outside: arguments, configuration mistakes, the keyring and store commands, SIGTERM, the demo."""
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import BIN, World, free_ports, wait_until  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run(program, *arguments, seconds=60):
    return subprocess.run([f"{BIN}/{program}", *arguments], capture_output=True, text=True, timeout=seconds,
                          stdin=subprocess.DEVNULL)


def expect(condition, what, done=None):
    if not condition:
        raise AssertionError(what if done is None else
                             f"{what}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}")


def wrong_arguments_are_exit_code_2():
    for program, arguments in [("bellhopd", []), ("bellhopd", ["--confg", "x"]), ("bellhopd", ["--config"]),
                               ("bellhopd", ["--config", "x", "y"]), ("bellhopd", ["--demo=0"]),
                               ("bellhopd", ["--demo=-1"]), ("bellhopd", ["--demo=1x"]), ("bellhopd", ["--demo", "3"]),
                               ("bellhopd", ["--demo=1", "--http=3"]), ("bellhopd", ["--http=2"]),
                               ("bellhop", []), ("bellhop", ["nothing"]), ("bellhop", ["check"]),
                               ("bellhop", ["token", "add", "--socket", "x"]), ("bellhop", ["store", "dump", "--store", "x"]),
                               ("bellhop", ["token", "list", "--socket", "x", "--config", "y"]),
                               ("bellhop", ["token", "revoke", "xyz", "--socket", "x"]),
                               ("bellhop", ["store", "seed", "--config", "x", "--mailboxes", "0"])]:
        done = run(program, *arguments)
        expect(done.returncode == 2 and done.stderr, f"{program} {arguments} must be refused with usage", done)


def help_and_version_are_exit_code_0():
    for program, argument, text in [("bellhopd", "--help", "--demo[=N]"), ("bellhop", "--help", "Exit codes"),
                                    ("bellhopd", "--version", "bellhopd 0."), ("bellhop", "version", "bellhop 0."),
                                    ("bellhop", "config-reference", "`keyring_file`")]:
        done = run(program, argument)
        expect(done.returncode == 0 and text in done.stdout, f"{program} {argument} must print {text}", done)


def the_documented_reference_is_the_programs_own():
    with open(f"{ROOT}/docs/configuration.md") as file:
        expect(run("bellhop", "config-reference").stdout == file.read(), "docs/configuration.md is out of date")


def a_missing_configuration_is_named(folder):
    for arguments in (["bellhopd", "--config"], ["bellhopd", "--check"], ["bellhop", "check"]):
        done = run(*arguments, f"{folder}/absent.toml")
        expect(done.returncode == 1 and "absent.toml:1:1:" in done.stderr, f"{arguments} must name the file", done)


def mistakes_are_shown_with_line_and_column(folder):
    with open(f"{ROOT}/examples/bellhop.toml") as file:
        example = file.read()
    path = f"{folder}/example.toml"

    def check(text):
        with open(path, "w") as file:
            file.write(text)
        return run("bellhop", "check", path)

    # The example names files that this machine does not have; nothing else is wrong with it.
    done = check(example)
    lines = done.stderr.splitlines()
    expect(done.returncode == 1 and len(lines) == 4, "the example must miss four files", done)
    for line in lines:
        expect(re.match(re.escape(path) + r":\d+:\d+: .*No such file", line), f"not about a missing file: {line}")
    done = check(example.replace("[listen.admin]\naddress", "[listen.admin]\nadress"))
    number = example[:example.index("[listen.admin]")].count("\n") + 2
    expect(f'{path}:{number}:1: unknown key "adress"' in done.stderr and '"address"' in done.stderr,
           "an unknown key must be shown with a suggestion", done)
    done = check(example.replace("status_frequency_minutes = 30", "status_frequency_minutes = 0"))
    expect(re.search(re.escape(path) + r":\d+:\d+: .*status_frequency_minutes.*1 to 1440", done.stderr),
           "a value out of range must be shown with the range", done)
    done = check(example + "\n[broken")
    expect(done.returncode == 1 and re.search(re.escape(path) + r":\d+:\d+: ", done.stderr), "a fault of syntax", done)


def a_keyring_is_made_once_and_read_by_its_owner_only(folder):
    path = f"{folder}/keyring-once"
    expect(run("bellhop", "keyring", "make", path).returncode == 0, "the keyring was not made")
    expect(os.stat(path).st_mode & 0o7777 == 0o400, "the keyring's mode must be 0400")
    with open(path) as file:
        before = file.read()
    done = run("bellhop", "keyring", "make", path)
    with open(path) as file:
        expect(done.returncode == 1 and file.read() == before, "an existing keyring must stay", done)
    done = run("bellhop", "keyring", "make", f"{folder}/absent/keyring")
    expect(done.returncode == 1 and "absent/keyring" in done.stderr, "a missing folder must be named", done)


def commands_without_a_server_say_so(folder):
    done = run("bellhop", "token", "list", "--socket", f"{folder}/nobody.sock")
    expect(done.returncode == 1 and "nobody.sock" in done.stderr and "bellhopd" in done.stderr, "no server", done)
    done = run("bellhop", "store", "check", "--store", f"{folder}/nothing")
    expect(done.returncode == 1 and not os.path.exists(f"{folder}/nothing"), "no store must be made", done)


def the_content_of_named_files_is_checked(world):
    done = run("bellhop", "check", world.config)
    expect(done.returncode == 0 and done.stdout == f"{world.config}: fine\n", "a good configuration", done)
    with open(world.config) as file:
        good = file.read()
    for name, wrong in [("apns.p8", "ca.pem"), ("server-key.pem", "apns.p8"), ("server.pem", "keyring"),
                        ("keyring", "ca.pem")]:
        path = f"{world.folder}/wrong-{name}.toml"
        with open(path, "w") as file:
            file.write(good.replace(f"{world.folder}/{name}", f"{world.folder}/{wrong}"))
        done = run("bellhop", "check", path)
        expect(done.returncode == 1 and f"{world.folder}/{wrong}" in done.stderr, f"{wrong} instead of {name}", done)
        if name != "apns.p8":
            expect(re.search(re.escape(path) + r":\d+:\d+: (keyring_file|listen\.public\.\w+_file): ", done.stderr), "the key's place", done)
    path = f"{world.folder}/open-token.toml"
    with open(path, "w") as file:
        file.write(good + f'[[policy.source]]\ntenant = "demo"\nkind = "uem"\nurl = "https://uem.example/devices"\n'
                          f'token_file = "{world.folder}/uem-token"\n')
    for mode, text in ((0o644, "secret\n"), (0o600, ""), (0o600, "two\nlines\n")):
        with open(f"{world.folder}/uem-token", "w") as file:
            file.write(text)
        os.chmod(f"{world.folder}/uem-token", mode)
        done = run("bellhop", "check", path)
        expect(done.returncode == 1 and re.search(re.escape(path) + r":\d+:\d+: .*token_file: .*/uem-token: ", done.stderr),
               "a UEM's token that the server would not use", done)


def a_second_server_takes_nothing_from_the_first(world):
    """The kernel would let it share the ports, and take the unix socket's name."""
    with open(world.config) as file:
        good = file.read()
    others = [(f"127.0.0.1:{world.admin_port}", "127.0.0.1:0"), (f'"{world.folder}/data"', f'"{world.folder}/second"')]
    public, socket_path = (f"127.0.0.1:{world.public_port}", "127.0.0.1:0"), (world.socket, f"{world.folder}/second.sock")
    precious = f"{world.folder}/precious"
    os.mkdir(f"{world.folder}/second")
    path = f"{world.folder}/second.toml"
    for what, changes in {"the public port": [socket_path], "the unix socket": [public], "a file": [public, (world.socket, precious)]}.items():
        text = good
        for before, after in others + changes:
            expect(before in text, f"{before} must be in the configuration")
            text = text.replace(before, after)
        with open(path, "w") as file:
            file.write(text)
        with open(precious, "w") as file:
            file.write("kept")
        done = run("bellhopd", "--config", path)
        expect(done.returncode == 1 and "cannot listen on " in done.stderr, f"{what} must be refused", done)
        expect(("another server listens there" if what != "a file" else "a file that is no socket") in done.stderr, f"{what}: why", done)
        with open(precious) as file:
            expect(file.read() == "kept", "a file must stay what it is")
    done = run("bellhop", "check", path)
    expect(done.returncode == 1 and re.search(re.escape(path) + r":\d+:\d+: listen.admin.unix_socket names ", done.stderr) and precious in done.stderr, "the check sees the file, too", done)
    expect(run("bellhop", "healthcheck", "--socket", world.socket).returncode == 0, "the first server goes on")


def tokens_are_made_listed_and_revoked(world):
    token = world.run("token", "add", "--tenant", "demo", "--plain", "--config", world.config).stdout.strip()
    expect(re.fullmatch(r"[A-Za-z0-9_-]{43}", token), f"not a token: {token}")
    shown = world.run("token", "add", "--tenant", "demo", "--socket", world.socket).stdout
    number = re.search(r"^id +([0-9a-f]{16})$", shown, re.M).group(1)
    world.run("token", "revoke", number, "--socket", world.socket)
    listed = world.run("token", "list", "--socket", world.socket).stdout
    expect(token not in listed and re.search(number + r" .* revoked ", listed), f"not revoked:\n{listed}")
    done = world.run("token", "add", "--tenant", "nobody", "--socket", world.socket, check=False)
    expect(done.returncode == 1 and "demo" in done.stderr, "an unknown tenant must be refused by name", done)
    done = world.run("token", "revoke", "0" * 16, "--socket", world.socket, check=False)
    expect(done.returncode == 1, "an unknown token must be refused", done)
    expect(token not in world.log_of("server"), "the token is in the log")


def the_store_can_be_read_beside_the_server(world):
    done = world.run("store", "check", "--config", world.config)
    expect("no problem found" in done.stdout and re.search(r"^tokens +\d", done.stdout, re.M), "store check", done)
    done = world.run("store", "dump", "--redacted", "--config", world.config)
    expect('"table":"api_tokens"' in done.stdout and world.token not in done.stdout, "store dump", done)


def sigterm_ends_the_server_in_good_order(world):
    context = ssl.create_default_context(cafile=f"{world.folder}/ca.pem")
    with context.wrap_socket(socket.create_connection(("localhost", world.public_port)), server_hostname="localhost") as idle:
        idle.sendall(b"GET /MailNotifications/api/ens/alive HTTP/1.1\r\nHost: localhost\r\n\r\n")
        expect(b"200" in idle.recv(4096), "the server must answer")
        world.server.send_signal(signal.SIGTERM)
        idle.settimeout(20)
        expect(idle.recv(4096) == b"", "an idle connection must be closed")
    expect(world.server.wait(20) == 0, "the server must end with 0")
    log = world.log_of("server")
    expect('"event":"draining"' in log and '"event":"drained"' in log, f"the log must tell of the drain:\n{log}")


def seeding_fills_a_store_that_checks_out(world):
    world.run("store", "seed", "--config", world.config, "--mailboxes", "50", "--key-pairs", "2")
    done = world.run("store", "check", "--config", world.config)
    expect(re.search(r"^subscriptions +50$", done.stdout, re.M) and "no problem found" in done.stdout, "seeded store", done)
    done = world.run("store", "seed", "--config", world.config, "--mailboxes", "5", "--tenant", "nobody", check=False)
    expect(done.returncode == 1 and "nobody" in done.stderr, "an unknown tenant", done)
    world.start_server(token=False)
    wait_until("the server counts them", lambda: world.metrics().get("bellhop_devices") == 50)
    world.server.send_signal(signal.SIGINT)
    expect(world.server.wait(20) == 0, "SIGINT must end the server with 0")


def the_demo_ends_with_0_when_all_arrived():
    parent = tempfile.mkdtemp(prefix="bellhop-e2e-demo-")
    try:
        for more in ([], ["--http=2"]):
            done = subprocess.run([f"{BIN}/bellhopd", "--demo=3", *more], capture_output=True, text=True, timeout=120,
                                  stdin=subprocess.DEVNULL, env={**os.environ, "TMPDIR": parent})
            expect(done.returncode == 0 and "3 of 3 mails arrived exactly once" in done.stdout, "the demo", done)
            expect(len(re.findall(r"^ +\d+ .*@example\.com .* → .* #\d", done.stdout, re.M)) == 3, "a line for each", done)
            expect(os.listdir(parent) == [], "the demo's folder must be gone")
    finally:
        os.rmdir(parent)


def settings_of_a_seg_become_configuration(world):
    """What the import prints becomes a gateway that runs; what would be unsafe ends it, and names the safe way."""
    settings = f"{world.folder}/seg.properties"
    listener_port, admin_port = free_ports(2)
    with open(settings, "w") as file:
        file.write(f"external.url=https://mail.example.com\nlistener.port={listener_port}\nemail.server.host.and.port=https://exchange.corp.example:443\n"
                   "ews.email.server.host.and.port=https://ews.corp.example:443\nemail.server.connection.timeout=7000\n"
                   "ignoreSslErrorsWithExch=true\nsyslog.password=hunter2\n")
    done = run("bellhop", "import", "seg", settings)
    expect(done.returncode == 1 and not done.stdout, "ignored certificate errors must end the import", done)
    expect("seg.properties:6: refused: ignoreSslErrorsWithExch" in done.stderr and "--ca-file" in done.stderr
           and "--spki-pin" in done.stderr, "the safe replacements must be named", done)
    done = run("bellhop", "import", "seg", settings, "--ca-file", f"{world.folder}/ca.pem")
    expect(done.returncode == 0 and "seg.properties:7: left out" in done.stderr and "hunter2" not in done.stdout + done.stderr,
           "what is left out must be named without its value", done)
    whole = f"{world.folder}/gateway.toml"
    text = f'data_dir = "{world.folder}/gateway"\nkeyring_file = "{world.folder}/keyring"\n' + done.stdout.replace(
        "[listen.gateway]\n", f'[listen.gateway]\ncertificate_file = "{world.folder}/server.pem"\n'
                              f'private_key_file = "{world.folder}/server-key.pem"\n')
    text += f'[listen.admin]\naddress = "127.0.0.1:{admin_port}"\nunix_socket = "{world.folder}/gateway.sock"\n'
    with open(whole, "w") as file:
        file.write(text)
    done = run("bellhop", "check", whole)
    expect(done.returncode == 1 and "[listen.gateway] is of no use" in done.stdout + done.stderr, "the role that is missing must be named", done)
    with open(whole, "w") as file:
        file.write('roles = ["gateway"]\n' + text)
    done = run("bellhop", "check", whole)
    expect(done.returncode == 0, "the imported configuration must be good", done)
    gateway = world.spawn("imported", "bellhopd", "--config", whole)
    wait_until("the gateway is ready", lambda: world.http("GET", f"http://127.0.0.1:{admin_port}/readyz", None, check=False))
    context = ssl.create_default_context(cafile=f"{world.folder}/ca.pem")
    with context.wrap_socket(socket.create_connection(("127.0.0.1", listener_port), 30), server_hostname="localhost") as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: mail.example.com\r\nConnection: close\r\n\r\n")
        answer = connection.recv(4096)
    expect(answer.startswith(b"HTTP/1.1 404"), f"the gateway answers on the imported port, and has no such path: {answer}")
    gateway.send_signal(signal.SIGTERM)
    expect(gateway.wait(60) == 0, "the gateway ends in good order")


def main():
    wrong_arguments_are_exit_code_2()
    help_and_version_are_exit_code_0()
    the_documented_reference_is_the_programs_own()
    with tempfile.TemporaryDirectory(prefix="bellhop-e2e-") as folder:
        a_missing_configuration_is_named(folder)
        mistakes_are_shown_with_line_and_column(folder)
        a_keyring_is_made_once_and_read_by_its_owner_only(folder)
        commands_without_a_server_say_so(folder)
    with World() as world:
        world.start_standins()  # they make the certificates
        world.start_server()
        the_content_of_named_files_is_checked(world)
        a_second_server_takes_nothing_from_the_first(world)
        settings_of_a_seg_become_configuration(world)
        tokens_are_made_listed_and_revoked(world)
        the_store_can_be_read_beside_the_server(world)
        sigterm_ends_the_server_in_good_order(world)
        seeding_fills_a_store_that_checks_out(world)
    the_demo_ends_with_0_when_all_arrived()
    print("all of the programs' promises hold")


if __name__ == "__main__":
    main()
