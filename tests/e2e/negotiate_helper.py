# SPDX-License-Identifier: Apache-2.0
"""Reads Kerberos tokens for the Exchange stand-in (--negotiate-helper), as IIS does: with the service's key from a keytab, by MIT's
libgssapi-krb5. Each token is good once. Answers {"user": "alice@REALM"}, or 401."""
import base64
import ctypes
import json
import threading
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_size_t, c_uint32, c_void_p, cast, create_string_buffer, string_at
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Buffer(Structure):
    _fields_ = [("length", c_size_t), ("value", c_void_p)]


class Pair(Structure):
    _fields_ = [("key", c_char_p), ("value", c_char_p)]


class Pairs(Structure):
    _fields_ = [("count", c_uint32), ("elements", POINTER(Pair))]


class Bindings(Structure):
    _fields_ = [("initiator_type", c_uint32), ("initiator", Buffer), ("acceptor_type", c_uint32), ("acceptor", Buffer),
                ("application", Buffer)]


def failed(major):
    return major & 0xffff0000


class Acceptor:
    def __init__(self, keytab, replay_file):
        self.gss = ctypes.CDLL("libgssapi_krb5.so.2")
        self.lock = threading.Lock()
        self.credential, minor = c_void_p(), c_uint32()
        pairs = (Pair * 2)(Pair(b"keytab", f"FILE:{keytab}".encode()), Pair(b"rcache", f"file2:{replay_file}".encode()))
        store = Pairs(2, pairs)
        accept_only = c_int(2)
        major = self.gss.gss_acquire_cred_from(byref(minor), None, c_uint32(0xffffffff), None, accept_only, byref(store),
                                               byref(self.credential), None, None)
        if failed(major):
            raise RuntimeError(f"{keytab}: no key of a service (code {major:#x}, {minor.value})")

    def user_of(self, token, endpoint_hash=b""):
        """The name in the ticket; None where the token is not good, was seen before, or is bound to another certificate."""
        with self.lock:
            minor, context, name, answer = c_uint32(), c_void_p(), c_void_p(), Buffer()
            memory = create_string_buffer(token, len(token))
            bytes_in = Buffer(len(token), cast(memory, c_void_p))
            text = b"tls-server-end-point:" + endpoint_hash
            bound = create_string_buffer(text, len(text))
            bindings = Bindings(0, Buffer(), 0, Buffer(), Buffer(len(text), cast(bound, c_void_p)))
            major = self.gss.gss_accept_sec_context(byref(minor), byref(context), self.credential, byref(bytes_in),
                                                    byref(bindings) if endpoint_hash else None, byref(name), None,
                                                    byref(answer), None, None, None)
            user = None
            if not failed(major):
                shown = Buffer()
                if not failed(self.gss.gss_display_name(byref(minor), name, byref(shown), None)):
                    user = string_at(shown.value, shown.length).decode()
                    self.gss.gss_release_buffer(byref(minor), byref(shown))
            self.gss.gss_release_buffer(byref(minor), byref(answer))
            if name:
                self.gss.gss_release_name(byref(minor), byref(name))
            if context:
                self.gss.gss_delete_sec_context(byref(minor), byref(context), None)
            return user


class NegotiateHelper:
    """Serves on a port of loopback until closed. `tokens`: all that came; `refuse`: takes none; `endpoint_hash`: what a bound
    token must name."""

    def __init__(self, keytab, replay_file):
        self.acceptor = Acceptor(keytab, replay_file)
        self.tokens, self.refuse, self.endpoint_hash, self.refused = [], False, b"", 0
        helper = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are two writes

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                token = base64.b64decode(asked["token"])
                helper.tokens.append(token)
                user = None if helper.refuse else helper.acceptor.user_of(token, helper.endpoint_hash)
                helper.refused += user is None
                body = json.dumps({"user": user} if user else {}).encode()
                self.send_response(200 if user else 401)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
