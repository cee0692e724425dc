# SPDX-License-Identifier: Apache-2.0
"""Reads Kerberos tokens for the Exchange stand-in, as IIS would: argument PORT, on loopback; POST / with {"token","host"} is answered
{"user": principal, "token": the reply} or 403 with {"error"}. The service's key comes from $KRB5_KTNAME, and a token counts once.
"""
import base64
import http.server
import json
import sys

import gssapi


def read(token):
    context = gssapi.SecurityContext(usage="accept", creds=gssapi.Credentials(usage="accept"))
    reply = context.step(base64.b64decode(token, validate=True))
    if not context.complete:
        raise ValueError("one token is not enough")
    return {"user": str(context.initiator_name), "token": base64.b64encode(reply or b"").decode()}


class Reader(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        try:
            status, answer = 200, read(asked["token"])
        except (gssapi.exceptions.GSSError, ValueError) as error:
            status, answer = 403, {"error": str(error)}
            print(error, file=sys.stderr, flush=True)
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Reader)
print("ready", flush=True)
server.serve_forever()
