// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "core/base/error.h"
#include "core/base/time.h"
#include "crypto/record.h"

namespace bellhop::crypto {

// Key derivations of one file, in iterations: its MAC, its encrypted parts (once to look inside, once to read) and its
// keys. Exporters use 1,000 to 10,000 for each, the most careful 600,000 (OWASP's figure for PBKDF2), and a file has three;
// this takes them, and is about a second of one CPU. A file may ask for billions: it is refused before any derivation.
inline constexpr uint64_t kPkcs12IterationsMax = 2'500'000;
// Parts of a file, at all levels; real ones have two or three, with a bag for each key and certificate.
inline constexpr uint32_t kPkcs12PartsMax = 32;
inline constexpr size_t kClientChainMax = 8;  // certificates
inline constexpr unsigned kClientRsaBitsMin = 2048;
inline constexpr unsigned kClientRsaBitsMax = 8192;

// Opens a PKCS#12 (RFC 7292) as mail clients and certificate services export it: one private key, its certificate, and
// perhaps that one's issuers, under a password (PBES2, or the older PBES1 forms), with a MAC. Gives the certificate that
// belongs to the key and the issuers that the file holds, in order, without a root, and the key as PKCS#8.
//
// The key is RSA of 2048 to 8192 bits, or EC P-256 or P-384; the certificate is within its dates at `now`, and may be used
// by TLS clients (no extended key usage, or one that says so).
//
// Takes up to a second of CPU: not for a reactor's thread. Memory of keys and plaintext is wiped. Errors: pkcs12_*.
Result<ClientCertificate> open_pkcs12(Bytes file, std::string_view password, WallTime now);

// How many iterations a file asks for as far as that is visible without the password. The cheap part of open_pkcs12.
// Errors: pkcs12_malformed, pkcs12_too_large, pkcs12_unsupported, pkcs12_iterations.
Result<uint64_t> count_pkcs12_iterations(Bytes file);

// The other way, for the stand-ins and tests: 3DES with SHA-1, the older form that everything reads.
// Errors: pkcs12_malformed where key or chain do not parse.
// `iterations`: of each key derivation.
Result<Secret> make_pkcs12(const ClientCertificate& certificate, std::string_view password, unsigned iterations = 2048);

}  // namespace bellhop::crypto
