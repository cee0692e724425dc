#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tree of commands of `bellhop`: every one explains itself, refuses what it does not know, and is completed by the shells.

Needs no server. bash is driven for real; scripts for zsh and fish are parsed where these shells are installed."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import BIN  # noqa: E402


def run(*arguments, program="bellhop"):
    return subprocess.run([f"{BIN}/{program}", *arguments], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def help_of(place):
    done = run(*place, "--help")
    assert done.returncode == 0 and done.stdout, (place, done)
    return done.stdout


def commands_in(text):
    """The names under the headings of commands: lines that begin with two blanks and a name. Usage and options are apart."""
    names, inside = [], False
    for line in text.splitlines():
        if re.match(r"^[A-Z][^:]*:$", line):
            inside = line not in ("Positionals:", "Options:", "Example:") and not line.startswith("[Option Group")
        elif inside and (match := re.match(r"^  ([a-z][a-z0-9-]*)  +\S", line)):
            names.append(match[1])
    return names


def tree(place=()):
    """All commands: (place, help text), groups included."""
    text = help_of(place)
    found = [(place, text)]
    for name in commands_in(text):
        found += tree((*place, name))
    return found


def every_command_explains_itself(commands):
    leaves = [(place, text) for place, text in commands if not commands_in(text)]
    assert len(leaves) >= 30, [place for place, _ in leaves]
    for place, text in commands[1:]:
        name = " ".join(place)
        first = text.splitlines()[0].strip()
        assert len(first) > 10 and first[0].isupper(), f"{name} has no description: {first!r}"
        assert "Exit codes: 0" in text, f"{name} does not tell its exit codes"
    for place, text in leaves:
        name = " ".join(place)
        assert re.search(r"^Example:\n  bellhop " + re.escape(name), text, re.M), f"{name} has no example of itself:\n{text}"
        for line, below in zip(text.splitlines(), text.splitlines()[1:]):  # a long name has its description below
            option = re.match(r"^  (--?[a-z]\S*(?: [A-Z]\S*)*)(.*)$", line)
            assert not option or option[2].strip() or re.match(r"^ {10,}[^ -]", below), f"{name}: {option[1]} has no description"
    text = run("--help", program="bellhopd").stdout
    assert "Examples:" in text and "Exit codes: 0" in text, text
    print(f"ok: {len(leaves)} commands, each with a description, an example and its exit codes")


def what_is_unknown_is_refused(commands):
    for place, text in commands:
        for wrong in ("--no-such-option-at-all", "--hepl"):
            done = run(*place, wrong)
            assert done.returncode == 2 and done.stderr, (place, wrong, done)
            assert ("did you mean --help?" in done.stderr) == (wrong == "--hepl"), (place, done.stderr)
    near = {("statsu",): "status", ("device", "lits"): "list", ("subscription", "ends"): "end",
            ("token", "list", "--sockt", "x"): "--socket", ("users", "--tenat=x"): "--tenant",
            ("device", "list", "--socket", "x", "--jsn"): "--json"}
    for arguments, wanted in near.items():
        done = run(*arguments)
        assert done.returncode == 2 and f"did you mean {wanted}?" in done.stderr, (arguments, done)
    for arguments in (["nonsense"], ["gateway", "nonsense"]):
        done = run(*arguments)
        assert done.returncode == 2 and 'there is no command "nonsense"' in done.stderr, (arguments, done)
    done = run("--confg", "x", program="bellhopd")
    assert done.returncode == 2 and "did you mean --config?" in done.stderr, done
    for arguments in (["users", "--socket", "a", "--config", "b"], ["users", "--address", "a@example.com"],
                      ["users", "--limit", "0"], ["device", "show"], ["device", "show", "xyz"], ["device", "remove", "--device-id", "x"],
                      ["device", "show", "00" * 16, "--device-id", "x"], ["subscription", "show"], ["subscription", "end", "12"],
                      ["subscription", "list", "--state", "dead"], ["status", "more"], ["users", "--user", "1", "--address", "2"]):
        done = run(*arguments)
        assert done.returncode == 2 and done.stderr, (arguments, done)
    print("ok: unknown options and commands end with 2 and a suggestion where one is near")


BASH = r"""
source "$1"
complete -p bellhop >/dev/null || exit 3
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_bellhop
printf '%s\n' "${COMPREPLY[@]}"
"""


def bash_completes(commands):
    with tempfile.TemporaryDirectory(prefix="bellhop-e2e-") as folder:
        script = f"{folder}/completion"
        with open(script, "w") as file:
            file.write(run("completion", "bash").stdout)
        open(f"{folder}/one file.toml", "w").close()

        def offers(*words):
            done = subprocess.run(["bash", "--norc", "-c", BASH, "bash", script, "bellhop", *words], capture_output=True, text=True,
                                  timeout=30, cwd=folder)
            assert done.returncode == 0 and not done.stderr, (words, done)
            return [line for line in done.stdout.splitlines() if line]

        for place, text in commands:
            assert sorted(offers(*place, "")) == sorted(commands_in(text)) or not commands_in(text), place
            for option in re.findall(r"^  +(?:-\w,)?(--[a-z0-9-]+)", text, re.M):
                assert option in offers(*place, option[:4]), (place, option)
        assert offers("tok") == ["token"]
        assert offers("token", "add", "--ten") == ["--tenant"]
        assert offers("device", "subscribe", "--auth", "b") == ["basic"]
        assert offers("device", "subscribe", "--auth", "=", "o")[:1] == ["oauth"]  # as bash splits --auth=o
        assert offers("subscription", "list", "--state", "") == ["pending", "active", "late", "lost", "refused"]
        assert offers("status", "--socket", "one") == ["one file.toml"]
        assert offers("check", "one") == ["one file.toml"]
        assert offers("token", "add", "--tenant", "") == []
        assert offers("nonsense", "x") == []
    print("ok: bash completes commands, options, choices and files")


def what_is_installed_is_what_is_printed():
    for shell, name in (("bash", "bellhop"), ("zsh", "_bellhop"), ("fish", "bellhop.fish")):
        with open(os.path.join(BIN, "..", "completion", name)) as file:
            assert file.read() == run("completion", shell).stdout, shell
    print("ok: the completion scripts beside the programs are theirs")


def other_shells_take_their_scripts():
    for shell, check in (("zsh", ["-n"]), ("fish", ["--no-execute"])):
        text = run("completion", shell).stdout
        assert "subscription" in text and "--state" in text or "-l state" in text, text[:200]
        if not shutil.which(shell):
            print(f"skipped: {shell} is not installed")
            continue
        with tempfile.NamedTemporaryFile("w", suffix=f".{shell}") as file:
            file.write(text)
            file.flush()
            done = subprocess.run([shell, *check, file.name], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0 and not done.stderr, done
        print(f"ok: {shell} takes its script")


def main():
    commands = tree()
    every_command_explains_itself(commands)
    what_is_unknown_is_refused(commands)
    bash_completes(commands)
    what_is_installed_is_what_is_printed()
    other_shells_take_their_scripts()
    return 0


if __name__ == "__main__":
    sys.exit(main())
