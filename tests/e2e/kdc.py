# SPDX-License-Identifier: Apache-2.0
"""A real KDC (Heimdal, unpacked by tools/bootstrap-kdc) for tests of constrained delegation: its data base, keys and
configuration stand in one folder, it listens on loopback only, and it is ended by its own process id.
"""
import glob
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import free_ports  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
REALM = "EXCHANGE.TEST"


def prefix():
    """Where Heimdal is; None where tools/bootstrap-kdc has not been run."""
    done = subprocess.run([f"{ROOT}/tools/bootstrap-kdc", "--prefix"], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


class Kdc:
    """A realm with a service account that may act for users at one service. Use as a context manager."""

    def __init__(self, folder, service="HTTP/localhost", account="bellhop", users=("alice", "bob"), ticket_life="1 hour",
                 realm=REALM):
        self.folder, self.service, self.account, self.users = folder, service, account, users
        self.ticket_life, self.realm = ticket_life, realm
        self.prefix = prefix()
        if not self.prefix:
            raise RuntimeError("there is no KDC; run tools/bootstrap-kdc")
        self.libraries = glob.glob(f"{self.prefix}/usr/lib/*-linux-gnu*")[0]
        self.port = free_ports(1)[0]
        self.keytab = f"{folder}/bellhop.keytab"           # the service account's
        self.service_keytab = f"{folder}/service.keytab"   # the service's: what opens the tickets in the end
        self.client_config = f"{folder}/krb5.conf"
        self.process = None
        os.makedirs(folder, exist_ok=True)

    def __enter__(self):
        self.make()
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def run(self, *arguments):
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                              env={**os.environ, "LD_LIBRARY_PATH": self.libraries, "KRB5_CONFIG": f"{self.folder}/kdc.conf"})
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def admin(self, *arguments):
        return self.run(f"{self.prefix}/usr/bin/kadmin.heimdal", "-l", f"--config-file={self.folder}/kdc.conf",
                        f"--realm={self.realm}", *arguments)

    def make(self):
        with open(f"{self.folder}/kdc.conf", "w") as out:
            out.write(f"""[libdefaults]
  default_realm = {self.realm}
[kdc]
  database = {{
    dbname = {self.folder}/heimdal
    realm = {self.realm}
    mkey_file = {self.folder}/m-key
    acl_file = {self.folder}/kadmind.acl
    log_file = {self.folder}/heimdal.log
  }}
  enable-http = no
  num-kdc-processes = 1
[logging]
  kdc = FILE:{self.folder}/kdc.log
  default = FILE:{self.folder}/kdc.log
[kadmin]
  default_keys = aes256-cts-hmac-sha1-96:pw-salt
""")
        self.write_client_config()
        self.run(f"{self.prefix}/usr/sbin/kstash", f"--key-file={self.folder}/m-key", "--random-key")
        self.admin("init", f"--realm-max-ticket-life={self.ticket_life}", f"--realm-max-renewable-life={self.ticket_life}",
                   self.realm)
        life = f"--max-ticket-life={self.ticket_life}"
        self.admin("add", "--random-key", "--use-defaults", life, self.account, self.service)
        for user in self.users:
            self.admin("add", "--random-key", "--use-defaults", life, user)
        self.admin("modify", f"--constrained-delegation={self.service}@{self.realm}", "--attributes=+trusted-for-delegation",
                   self.account)
        self.admin("ext_keytab", f"--keytab={self.keytab}", self.account)
        self.admin("ext_keytab", f"--keytab={self.service_keytab}", self.service)
        for path in (self.keytab, self.service_keytab):
            os.chmod(path, 0o600)

    def write_client_config(self, port=None):
        """What bellhop reads: nothing but where the KDC is."""
        with open(self.client_config, "w") as out:
            out.write(f"""[libdefaults]
  default_realm = {self.realm}
[realms]
  {self.realm} = {{
    kdc = 127.0.0.1:{port or self.port}
  }}
""")

    def start(self):
        log = open(f"{self.folder}/kdc.out", "ab")
        self.process = subprocess.Popen(
            [f"{self.prefix}/usr/lib/heimdal-servers/kdc", f"--config-file={self.folder}/kdc.conf", f"--ports={self.port}",
             "--addresses=127.0.0.1"],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,  # its workers can be stopped with it
            env={**os.environ, "LD_LIBRARY_PATH": self.libraries, "KRB5_CONFIG": f"{self.folder}/kdc.conf"})
        # It listens on TCP too, which shows when it is ready.
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"the KDC ended with {self.process.returncode}; see {self.folder}/kdc.log and kdc.out")
            if self.listens():
                return
            time.sleep(0.02)  # between two looks at another process, which cannot tell us
        raise RuntimeError("the KDC does not listen")

    def listens(self):
        wanted = f"0100007F:{self.port:04X}"
        with open("/proc/net/tcp") as table:
            return any(line.split()[1] == wanted and line.split()[3] == "0A" for line in table.readlines()[1:])

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def log(self):
        with open(f"{self.folder}/kdc.log", errors="replace") as file:
            return file.read()
