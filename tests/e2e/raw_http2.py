# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 as a client writes it that keeps to no rule: any fields, in any order, with any bytes in them (RFC 9113, 7541)."""
import socket
import ssl
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
FRAME_BYTES_MAX = 16384


def trusting():
    """A TLS context that asks no server who it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


ANY_SERVER, OVER_HTTP2 = trusting(), trusting()
OVER_HTTP2.set_alpn_protocols(["h2"])


def integer(value, bits, first=0):
    """RFC 7541 section 5.1."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([first | value])
    out = bytearray([first | limit])
    value -= limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def literal(name, value):
    """Never indexed, new name, no Huffman code (section 6.2.3)."""
    return b"\x10" + integer(len(name), 7) + name + integer(len(value), 7) + value


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def request_frames(fields, body, stream=1):
    block = b"".join(literal(name, value) for name, value in fields)
    pieces = [block[at:at + FRAME_BYTES_MAX] for at in range(0, len(block), FRAME_BYTES_MAX)] or [b""]
    out = b""
    for i, piece in enumerate(pieces):
        flags = (END_HEADERS if i == len(pieces) - 1 else 0) | (END_STREAM if i == 0 and not body else 0)
        out += frame(CONTINUATION if i else HEADERS, flags, stream, piece)
    for at in range(0, len(body), FRAME_BYTES_MAX):
        last = at + FRAME_BYTES_MAX >= len(body)
        out += frame(DATA, END_STREAM if last else 0, stream, body[at:at + FRAME_BYTES_MAX])
    return out


def exchange(port, fields, body, seconds=20.0):
    """Sends one request on a connection of its own; how it ended: "answered", "reset", "closed". TimeoutError where it does not."""
    with socket.create_connection(("127.0.0.1", port), seconds) as plain, OVER_HTTP2.wrap_socket(plain, server_hostname="localhost") as tls:
        assert tls.selected_alpn_protocol() == "h2", "the listener does not speak HTTP/2"
        tls.settimeout(seconds)
        buffer = b""

        def exactly(size):
            nonlocal buffer
            while len(buffer) < size:
                piece = tls.recv(65536)
                if not piece:
                    raise ConnectionError
                buffer += piece
            taken, buffer = buffer[:size], buffer[size:]
            return taken

        try:
            tls.sendall(PREFACE + frame(SETTINGS, 0, 0) + request_frames(fields, body))
            while True:
                head = exactly(9)
                size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
                stream = int.from_bytes(head[5:], "big") & 0x7fffffff
                exactly(size)
                if kind == SETTINGS and not flags & ACK:
                    tls.sendall(frame(SETTINGS, ACK, 0))
                elif kind in (HEADERS, DATA) and stream == 1 and flags & END_STREAM:
                    return "answered"
                elif kind == RST_STREAM and stream == 1:
                    return "reset"
                elif kind == GOAWAY:
                    return "closed"
        except TimeoutError:
            raise
        except (ConnectionError, ssl.SSLError):
            return "closed"
