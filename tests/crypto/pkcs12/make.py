#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the PKCS#12 files of this folder, password "secret", with the openssl command: what it exports itself, and files of
our own making that it would not. The tests read the files; this is how they came to be.

  make.py [folder of scratch files]"""
import hashlib
import hmac
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PASSWORD = "secret"
SALT = bytes(range(8))


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *arguments], input=data, check=True, capture_output=True).stdout


# ---- DER ----

def tlv(tag, *parts):
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def indefinite(tag, *parts):
    return bytes([tag, 0x80]) + b"".join(parts) + b"\0\0"


def sequence(*parts): return tlv(0x30, *parts)
def octets(data): return tlv(0x04, data)
def explicit(data): return tlv(0xa0, data)
def integer(value): return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(text):
    arcs = list(map(int, text.split(".")))
    body = bytes([arcs[0] * 40 + arcs[1]])
    for arc in arcs[2:]:
        digits = [arc & 0x7f]
        while arc := arc >> 7:
            digits.append(0x80 | arc & 0x7f)
        body += bytes(reversed(digits))
    return tlv(0x06, body)


# ---- PKCS#12 ----

DATA, ENCRYPTED = oid("1.2.840.113549.1.7.1"), oid("1.2.840.113549.1.7.6")
BAG = "1.2.840.113549.1.12.10.1."


def derive(password, salt, iterations, purpose, size):
    """RFC 7292 appendix B.2 for SHA-1. None is no password: nothing, where an empty one is a NUL."""
    text = b"" if password is None else (password + "\0").encode("utf-16-be")
    fill = lambda data: (data * (64 // len(data) + 1))[:-(-len(data) // 64) * 64] if data else b""
    mixed, out = fill(salt) + fill(text), b""
    while len(out) < size:
        digest = bytes([purpose]) * 64 + mixed
        for _ in range(iterations):
            digest = hashlib.sha1(digest).digest()
        out += digest
        step = int.from_bytes((digest * 4)[:64], "big") + 1
        mixed = b"".join(((int.from_bytes(mixed[at:at + 64], "big") + step) % (1 << 512)).to_bytes(64, "big")
                         for at in range(0, len(mixed), 64))
    return out[:size]


def pfx(*contents, iterations=2048, stated=None, salt=SALT, octet_string=octets, outer=sequence, password=PASSWORD):
    safe = outer(*contents)
    tag = hmac.new(derive(password, salt, iterations, 3, 20), safe, "sha1").digest()
    digest = sequence(sequence(oid("1.3.14.3.2.26"), tlv(0x05)), octets(tag))
    return outer(integer(3), outer(DATA, explicit(octet_string(safe))),
                 sequence(digest, octets(salt), integer(stated or iterations)))


def data(*bags): return sequence(DATA, explicit(octets(sequence(*bags))))
def bag(kind, value): return sequence(oid(BAG + str(kind)), explicit(value))
def key_bag(pkcs8): return bag(1, pkcs8)
def cert_bag(der): return bag(3, sequence(oid("1.2.840.113549.1.9.22.1"), explicit(octets(der))))


def pbes2(iterations, cipher="2.16.840.1.101.3.4.1.42", derivation="1.2.840.113549.1.5.12"):
    prf = sequence(oid("1.2.840.113549.2.9"), tlv(0x05))
    return sequence(oid("1.2.840.113549.1.5.13"), sequence(
        sequence(oid(derivation), sequence(octets(SALT), integer(iterations), prf)),
        sequence(oid(cipher), octets(bytes(16)))))


def pbes1(iterations): return sequence(oid("1.2.840.113549.1.12.1.3"), sequence(octets(SALT), integer(iterations)))


def encrypt(plain, iterations=1000):
    key = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), SALT, iterations, 32)
    return openssl("enc", "-aes-256-cbc", "-K", key.hex(), "-iv", "00" * 16, data=plain)


def encrypt_pbes1(plain, password, iterations=1000):
    key, iv = derive(password, SALT, iterations, 1, 24), derive(password, SALT, iterations, 2, 8)
    return openssl("enc", "-des-ede3-cbc", "-K", key.hex(), "-iv", iv.hex(), data=plain)


def encrypted(text, algorithm):
    return sequence(ENCRYPTED, explicit(sequence(integer(0), sequence(DATA, algorithm, tlv(0x80, text)))))


def shrouded(text, algorithm): return bag(2, sequence(algorithm, octets(text)))


class Maker:
    def __init__(self, scratch):
        self.scratch = scratch

    def path(self, name): return os.path.join(self.scratch, name)

    def key(self, name, *how):
        if not os.path.exists(self.path(name + ".key")):
            openssl("genpkey", "-out", self.path(name + ".key"), *how)
        return self.path(name + ".key")

    def certificate(self, name, key, extensions, issuer=None, days="36500"):
        request = openssl("req", "-new", "-key", key, "-subj", f"/CN={name}")
        with open(self.path("extensions"), "w") as file:
            file.write(extensions)
        signer = ["-CA", self.path(issuer + ".pem"), "-CAkey", self.path(issuer + ".key")] if issuer else ["-signkey", key]
        openssl("x509", "-req", "-days", days, "-extfile", self.path("extensions"), "-out", self.path(name + ".pem"),
                "-set_serial", "7", *signer, data=request)
        return self.path(name + ".pem")

    def pkcs8(self, name): return openssl("pkcs8", "-topk8", "-nocrypt", "-in", self.path(name + ".key"), "-outform", "DER")
    def der(self, name): return openssl("x509", "-in", self.path(name + ".pem"), "-outform", "DER")

    def write(self, name, content):
        with open(os.path.join(HERE, name + ".p12"), "wb") as file:
            file.write(content)

    def export(self, name, key, certificate, *more, password=PASSWORD):
        self.write(name, openssl("pkcs12", "-export", "-passout", "pass:" + password, "-inkey", self.path(key + ".key"),
                                 "-in", self.path(certificate + ".pem"), *more))

    def make(self):
        p256 = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        authority = "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n"
        client = "keyUsage=digitalSignature\nextendedKeyUsage=clientAuth\nsubjectAltName=email:ann@example.com\n"
        self.certificate("root", self.key("root", *p256), authority)
        self.certificate("issuer", self.key("issuer", *p256), authority, "root")
        kinds = {"p256": p256, "p384": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"),
                 "p521": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"), "ed25519": ("-algorithm", "ED25519"),
                 "rsa1024": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"),
                 "rsa2048": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
                 "rsa8192": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:8192"),
                 "rsa9216": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:9216")}
        for name, how in kinds.items():
            self.certificate(name, self.key(name, *how), client, "issuer")
        with open(self.path("chain"), "w") as chain:  # out of order, with the root
            for name in ("root", "issuer"):
                with open(self.path(name + ".pem")) as file:
                    chain.write(file.read())
        # As openssl exports them today, and as it and Windows did before.
        self.export("modern", "p256", "p256", "-certfile", self.path("chain"))
        self.export("legacy", "rsa2048", "rsa2048", "-legacy", "-certfile", self.path("chain"))
        self.export("triple_des", "rsa2048", "rsa2048", "-certpbe", "PBE-SHA1-3DES", "-keypbe", "PBE-SHA1-3DES",
                    "-macalg", "sha1", "-iter", "2000")
        for name in kinds:
            if name != "p256":
                self.export(name, name, name)
        self.export("empty_password", "p256", "p256", "-certpbe", "PBE-SHA1-3DES", "-keypbe", "PBE-SHA1-3DES", "-macalg", "sha1",
                    password="")
        self.write("no_key", openssl("pkcs12", "-export", "-passout", "pass:" + PASSWORD, "-nokeys", "-in",
                                     self.path("p256.pem")))
        self.write("no_certificate", openssl("pkcs12", "-export", "-passout", "pass:" + PASSWORD, "-nocerts", "-inkey",
                                             self.path("p256.key")))
        self.export("without_mac", "p256", "p256", "-nomac")
        self.certificate("server", self.path("p256.key"), "extendedKeyUsage=serverAuth\n", "issuer")
        self.export("for_servers", "p256", "server")
        self.certificate("encipher", self.path("p256.key"), "keyUsage=keyEncipherment\n", "issuer")
        self.export("for_encryption", "p256", "encipher")
        self.certificate("plain", self.path("p256.key"), "basicConstraints=CA:FALSE\n", "issuer")
        self.export("no_usage", "p256", "plain")
        # Our own.
        key, other, own = self.pkcs8("p256"), self.pkcs8("p384"), self.der("p256")
        self.write("two_keys", pfx(data(key_bag(key), key_bag(other), cert_bag(own))))
        self.write("unencrypted", pfx(data(key_bag(key), cert_bag(own))))
        self.write("mismatch", pfx(data(key_bag(key), cert_bag(self.der("p384")))))
        chunks = lambda text: indefinite(0x24, *[octets(text[i:i + 100]) for i in range(0, len(text), 100)])
        self.write("ber", pfx(data(key_bag(key), cert_bag(own)), octet_string=chunks, outer=lambda *p: indefinite(0x30, *p)))
        bomb = 4_000_000_000
        self.write("bomb_mac", pfx(data(key_bag(key), cert_bag(own)), iterations=1, stated=bomb))
        self.write("bomb_pbes2", pfx(encrypted(bytes(64), pbes2(bomb))))
        self.write("bomb_pbes1", pfx(encrypted(bytes(64), pbes1(bomb))))
        self.write("bomb_key", pfx(data(shrouded(bytes(64), pbes2(bomb)))))
        self.write("bomb_sum", pfx(*[data(shrouded(bytes(64), pbes2(600_000))) for _ in range(5)]))
        hidden = sequence(shrouded(bytes(64), pbes2(99_000_000)), cert_bag(own))
        self.write("bomb_hidden", pfx(encrypted(encrypt(hidden), pbes2(1000))))
        none = lambda plain: encrypted(encrypt_pbes1(plain, None), pbes1(1000))
        self.write("no_password", pfx(none(sequence(cert_bag(own))), data(shrouded(encrypt_pbes1(key, None), pbes1(1000))),
                                      password=None))
        self.write("bomb_no_password", pfx(none(hidden), password=None))
        self.write("iterations_0", pfx(data(shrouded(bytes(64), pbes2(0)))))
        self.write("many_parts", pfx(*[data() for _ in range(33)]))
        self.write("scrypt", pfx(encrypted(bytes(64), pbes2(1, derivation="1.3.6.1.4.1.11591.4.11"))))
        self.write("unknown_cipher", pfx(encrypted(bytes(64), pbes2(1000, cipher="1.2.3.4"))))
        self.write("signed", sequence(integer(3), sequence(oid("1.2.840.113549.1.7.2"), explicit(sequence())), sequence()))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Maker(sys.argv[1]).make()
    else:
        with tempfile.TemporaryDirectory() as folder:
            Maker(folder).make()
