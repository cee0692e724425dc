#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes keys.txt: RSA keys for tests, so that no test waits for primes. A line each: "2048", "3072" or "refused", a name, and
the PKCS#8 form in base64. The keys protect nothing: their secrets are published here.

  make.py          writes keys.txt next to itself, with new random primes
  make.py --check  asks the openssl command whether the keys that are there are right"""
import base64
import math
import os
import secrets
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
E = 65537


def is_prime(n):
    for small in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53):
        if n % small == 0:
            return n == small
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(20):  # Miller and Rabin
        x = pow(secrets.randbelow(n - 3) + 2, odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def prime_from(start, step):
    """The first usable prime from `start` on, upward (2) or downward (-2)."""
    n = start | 1
    while not (math.gcd(n - 1, E) == 1 and is_prime(n)):
        n += step
    return n


def random_prime(bits, top=3):
    """A random one; `top`: its two highest bits."""
    return prime_from(top << (bits - 2) | secrets.randbits(bits - 2) >> 1, 2)


def largest(bits):
    return prime_from((1 << bits) - 1, -2)


# ---- PKCS#8 ----

def tlv(tag, *parts):
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def integer(value): return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def pkcs8(p, q):
    d = pow(E, -1, math.lcm(p - 1, q - 1))
    key = tlv(0x30, *map(integer, (0, p * q, E, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))))
    rsa_encryption = bytes.fromhex("06092a864886f70d0101010500")
    return tlv(0x30, integer(0), tlv(0x30, rsa_encryption), tlv(0x04, key))


# ---- the keys ----

def good_pairs(bits):
    half = bits // 2
    a, b = sorted((random_prime(half), random_prime(half)))
    yield "p_larger", b, a
    a, b = sorted((random_prime(half), random_prime(half)))
    yield "p_smaller", a, b
    # As far apart as they can be: the largest prime, and the smallest that still fills the product's top bit.
    high = largest(half)
    low = prime_from((1 << (bits - 1)) // high + 1, 2)
    yield "far_apart_p_larger", high, low
    yield "far_apart_p_smaller", low, high


def more_pairs(bits):
    half = bits // 2
    high = largest(half)
    yield "top_digits_all_ones", high, prime_from(high - 2, -2)
    root = math.isqrt(1 << (bits - 1)) + 1  # n is just above 2^(bits - 1), the primes are near each other
    low = prime_from(root, 2)
    yield "near_the_root", prime_from(low + 2, 2), low
    for name in ("random_1", "random_2"):
        yield name, random_prime(half), random_prime(half)


def refused_pairs():
    yield "unequal_1030_1018", random_prime(1030), random_prime(1018)
    yield "unequal_1018_1030", random_prime(1018), random_prime(1030)
    yield "unequal_1025_1023", random_prime(1025), random_prime(1023)
    yield "unequal_1537_1535", random_prime(1537), random_prime(1535)
    yield "product_of_2047_bits", random_prime(1024, top=2), prime_from((1 << 1023) + (1 << 1000), 2)
    yield "product_of_3071_bits", random_prime(1536, top=2), prime_from((1 << 1535) + (1 << 1500), 2)


def make():
    lines = []
    for kind, pairs in (("2048", [*good_pairs(2048), *more_pairs(2048)]), ("3072", good_pairs(3072)),
                        ("refused", refused_pairs())):
        for name, p, q in pairs:
            bits = (p * q).bit_length()
            if kind != "refused":
                assert bits == int(kind) and p.bit_length() == q.bit_length() == bits // 2, name
            else:
                assert p.bit_length() != q.bit_length() or bits % 2 == 1, name
            lines.append(f"{kind} {name} {base64.b64encode(pkcs8(p, q)).decode()}\n")
    with open(os.path.join(HERE, "keys.txt"), "w", encoding="ascii") as out:
        out.writelines(lines)


def check():
    with open(os.path.join(HERE, "keys.txt"), encoding="ascii") as keys:
        for line in keys:
            _, name, text = line.split()
            answer = subprocess.run(["openssl", "rsa", "-inform", "DER", "-check", "-noout"],
                                    input=base64.b64decode(text), capture_output=True)
            if answer.returncode != 0 or b"RSA key ok" not in answer.stdout:
                sys.exit(f"keys.txt: openssl refuses {name}: {answer.stderr.decode().strip()}")
            print(f"{name}: ok")


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        check()
    else:
        make()
        check()
