#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Delegation against a real KDC: starts Heimdal (tools/bootstrap-kdc) with a realm of its own and runs test_kdc in it.

  kdc_test.py [users]     default 200"""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import kdc  # noqa: E402
from processes import BIN, SKIP  # noqa: E402


def run(realm, users, *names):
    done = subprocess.run([f"{BIN}/test_kdc", "--gtest_filter=" + ":".join(f"Kdc.{name}" for name in names)],
                          timeout=200, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env={**os.environ, "BELLHOP_KDC_FOLDER": realm.folder, "BELLHOP_KDC_USERS": str(users),
                               "BELLHOP_KDC_PORT": str(realm.port), "BELLHOP_KDC_GROUP": str(realm.process.pid)})
    print("\n".join(line for line in done.stdout.splitlines() if not line.startswith("Note: Google Test filter")))
    passed = done.stdout.count("[       OK ]")
    assert done.returncode == 0 and passed == len(names), f"{passed} of {len(names)} passed, status {done.returncode}\n{done.stderr}\n{realm.log()[-3000:]}"


def main():
    users = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    if not kdc.prefix():
        print("skipped: there is no KDC; run tools/bootstrap-kdc")
        return SKIP
    folder = tempfile.mkdtemp(prefix="bellhop-kdc-")
    try:
        everybody = ("alice", "bob", "locked", "sensitive", *(f"user{n}" for n in range(users)))
        with kdc.Kdc(f"{folder}/long", users=everybody) as realm:
            realm.admin("add", "--random-key", "--use-defaults", "HTTP/other.exchange.test", "somebody")
            realm.admin("modify", "--attributes=+disallow-all-tix", "locked")
            realm.admin("modify", "--attributes=+disallow-forwardable", "sensitive")
            run(realm, users, "TheServiceSeesTheUser", "KnowsAUserByTheWholeName", "TheBindingIsThatOfTheConnection", "SaysWhyNot",
                "AKeytabOfAnotherAccountIsAFault", "ManyUsersComeAtOnce")
            run(realm, users, "ThatHangsHoldsUpNeitherUsersWithTicketsNorTheEnd")
            shutil.copy(realm.keytab, f"{realm.folder}/old.keytab")
            realm.admin("cpw", "--random-key", realm.account)
            os.unlink(realm.keytab)
            realm.admin("ext_keytab", f"--keytab={realm.keytab}", realm.account)
            run(realm, users, "AWrongKeyIsTheAccountsFault", "TheProbeSaysHowFarItCame", "TheServiceSeesTheUser")
            realm.stop()
            run(realm, users, "ThatIsDeadIsUnreachable")
        with kdc.Kdc(f"{folder}/short", ticket_life="4 seconds") as realm:
            run(realm, users, "TicketsAreRenewedBeforeTheyEnd")
    finally:
        if not os.environ.get("BELLHOP_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)
    print("delegation against a real KDC: as it should be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
