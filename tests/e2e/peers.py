# SPDX-License-Identifier: Apache-2.0
"""Foreign programs for tests: EWS clients, other reverse proxies, a WBXML decoder. tools/peers fetches them; a test that needs one that
is not there says so and is skipped (see need()).
"""
import json
import os
import shutil
import subprocess
import sys

from processes import SKIP, free_ports

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
_environment = None


def environment():
    """os.environ with the variables that `tools/peers --shell` tells."""
    global _environment
    if _environment is None:
        script = 'eval "$("$1" --shell)" && exec /usr/bin/python3 -c "import json,os; print(json.dumps(dict(os.environ)))"'
        told = subprocess.run(["bash", "-c", script, "bash", f"{ROOT}/tools/peers"], capture_output=True, text=True, check=True)
        _environment = json.loads(told.stdout)
    return _environment


def need(*programs, javascript=False):
    """Ends the test with SKIP where a peer is missing."""
    here = environment()
    missing = [name for name in programs if not shutil.which(name, path=here["PATH"])]
    if "exchangelib" in missing:
        missing.remove("exchangelib")
        if subprocess.run(["/usr/bin/python3", "-c", "import exchangelib"], env=here, capture_output=True).returncode:
            missing.append("exchangelib")
    if javascript and (not shutil.which("node") or not os.path.isdir(f"{here['NODE_PATH']}/ews-javascript-api")):
        missing.append("ews-javascript-api")
    if missing:
        print(f"skipped: {', '.join(missing)} not there; tools/peers fetches what the tests need")
        sys.exit(SKIP)


def start_negotiate_reader(world, keytab, krb5_config):
    """Who reads Kerberos tokens for a stand-in that was started with --negotiate-helper; its address. `keytab`: of the service."""
    port = free_ports(1)[0]
    log = open(f"{world.folder}/negotiate.log", "ab")
    process = subprocess.Popen(["/usr/bin/python3", f"{ROOT}/tests/e2e/clients/negotiate_reader.py", str(port)], stdout=subprocess.PIPE, stderr=log,
                               stdin=subprocess.DEVNULL, env={**environment(), "KRB5_KTNAME": keytab, "KRB5_CONFIG": krb5_config,
                                                              "KRB5RCACHENAME": f"file2:{world.folder}/replays"})
    world.processes.append(process)
    assert process.stdout.readline() == b"ready\n", "the reader of Kerberos tokens did not start; see negotiate.log"
    return f"127.0.0.1:{port}"


def wbxml_to_xml(document):
    """What libwbxml reads in a document."""
    done = subprocess.run(["wbxml2xml", "-l", "ACTIVESYNC", "-o", "-", "-"], input=document, capture_output=True, env=environment())
    if done.returncode:
        raise AssertionError(f"wbxml2xml: {done.stderr.decode(errors='replace')} {document[:64].hex()}")
    return done.stdout.decode()
