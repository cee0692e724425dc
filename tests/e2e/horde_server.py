# SPDX-License-Identifier: Apache-2.0
"""A foreign ActiveSync server: Horde's library in PHP's own HTTP server (tests/e2e/horde/server.php), behind a TLS front that
keeps what reached it. tools/peers fetches both; the library is under the GPL, and only the tests run it."""
import http.client
import http.server
import json
import os
import signal
import ssl
import subprocess
import threading

import peers
from processes import free_ports, wait_until

EXTENSIONS = ("ctype", "iconv", "tokenizer", "dom", "xml", "simplexml", "pdo", "pdo_sqlite", "posix", "gettext", "bcmath", "mbstring")
HOP = {"connection", "host", "transfer-encoding", "keep-alive"}


def missing():
    """What of it is not there; empty: it can be started."""
    tree = peers.environment()["BELLHOP_PEERS_TREE"]
    wanted = ("usr/bin/php8.2", "usr/share/php/Horde/ActiveSync.php", "usr/share/php/Horde/Db.php", "usr/share/php/Horde/Controller.php",
              "usr/lib/php/20220829/mbstring.so")
    return [name for name in wanted if not os.path.exists(f"{tree}/{name}")]


class HordeServer:
    """Use as a context manager. `port`: of the TLS front; `seen`: (method, target, fields) of each request, names in lower case."""

    def __init__(self, folder, certificate, key, password):
        self.folder, self.password = f"{folder}/horde", password
        self.port, self.php_port = free_ports(2)
        self.seen = []
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate, key)
        os.makedirs(self.folder)
        self.write_contacts([])

    def write_contacts(self, contacts):
        """(id, first name, last name, number of the change) of each."""
        rows = [dict(zip(("id", "first", "last", "changed"), one)) for one in contacts]
        with open(f"{self.folder}/contacts.new", "w") as file:
            json.dump(rows, file)
        os.rename(f"{self.folder}/contacts.new", f"{self.folder}/contacts.json")

    def __enter__(self):
        here = peers.environment()
        tree, script = here["BELLHOP_PEERS_TREE"], f"{peers.ROOT}/tests/e2e/horde/server.php"
        php = [f"{tree}/usr/bin/php8.2", "-n", "-d", f"extension_dir={tree}/usr/lib/php/20220829"]
        for name in EXTENSIONS:
            php += ["-d", f"extension={name}"]
        environment = {**here, "HORDE_ROOT": tree, "HORDE_STATE": self.folder, "HORDE_PASSWORD": self.password, "PHP_CLI_SERVER_WORKERS": "4"}
        subprocess.run([*php, script], env=environment, check=True, capture_output=True)
        self.log = open(f"{self.folder}/php.log", "ab")
        # A group of its own: PHP's workers end with it.
        self.php = subprocess.Popen([*php, "-S", f"127.0.0.1:{self.php_port}", script], env=environment, stdout=self.log, stderr=self.log,
                                    stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            wait_until("PHP listens", self.answers, 20)
        except BaseException:
            self.stop_php()
            raise
        self.front = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), self.handler())
        self.front.daemon_threads = True
        self.front.socket = self.tls.wrap_socket(self.front.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.front.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *why):
        self.front.shutdown()
        self.front.server_close()
        self.stop_php()

    def stop_php(self):
        os.killpg(self.php.pid, signal.SIGTERM)
        self.php.wait()
        self.log.close()

    def answers(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.php_port, timeout=5)
        try:
            connection.request("OPTIONS", "/Microsoft-Server-ActiveSync")
            return connection.getresponse().status == 401
        except ConnectionError:
            return False
        finally:
            connection.close()

    def handler(self):
        server = self

        class Front(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self):
                try:
                    self.relay()
                except (ConnectionError, ssl.SSLError, http.client.HTTPException):
                    self.close_connection = True  # one of the two has left

            def relay(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                server.seen.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
                php = http.client.HTTPConnection("127.0.0.1", server.php_port, timeout=120)
                php.request(self.command, self.path, body=body or None, headers={n: v for n, v in self.headers.items() if n.lower() not in HOP})
                answer = php.getresponse()
                content = answer.read()
                php.close()
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in HOP | {"content-length"}:
                        self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_OPTIONS = serve

            def log_message(self, *what):
                pass

        return Front
