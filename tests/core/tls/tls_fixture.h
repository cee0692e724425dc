// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "core/tls/certificate.h"
#include "core/tls/context.h"
#include "core/tls/engine.h"
#include "core/tls/memory.h"

namespace bellhop::tls_test {

inline const WallTime kNoon{std::chrono::seconds(1'800'000'000)};
inline const CertificateValidity kGood{kNoon - 24h, kNoon + std::chrono::hours(24 * 90)};
inline const std::string kHost = "mail.example.test";

// The clock that all contexts of the test program read.
void set_time(WallTime now);
WallTime time_now();

// One authority for the whole program, and what it issued for kHost, "*.wild.example.test" and 192.0.2.7.
const CertificateAndKey& authority();
const CertificateAndKey& server_certificate();
std::shared_ptr<const TlsAuthorities> trusting(const CertificateAndKey& root);

std::shared_ptr<TicketKeys> ticket_keys(uint8_t seed);
std::vector<uint8_t> fresh_bytes(uint8_t seed);

TlsServerOptions server_options(const CertificateAndKey& identity);
std::shared_ptr<TlsContext> make_server(const TlsServerOptions& options);
std::shared_ptr<TlsContext> make_server();
std::shared_ptr<TlsContext> make_client(const TlsClientOptions& options);
std::shared_ptr<TlsContext> make_client();
// Restricts a context to one protocol version.
void only(TlsContext& context, TlsVersion version);

// Moves all output of `from` into `to`, at most `piece` bytes in one feed, advancing `to` after each.
// Returns the number of bytes moved.
size_t carry(TlsEngine& from, TlsEngine& to, size_t piece = SIZE_MAX);
// Carries both ways until neither side has output. Bounded.
void shake(TlsEngine& client, TlsEngine& server, size_t piece = SIZE_MAX);
// Everything `engine` can read now.
std::string read_all(TlsEngine& engine);
// Writes it all (it must fit).
void say(TlsEngine& engine, std::string_view text);

// What a client's and a server's engine made of each other.
struct Meeting {
  TlsEngine client;
  TlsEngine server;
  Meeting(std::shared_ptr<TlsContext> client_context, std::shared_ptr<TlsContext> server_context,
          const std::string& host = kHost)
      : client(std::move(client_context), host), server(std::move(server_context)) {}
  void shake(size_t piece = SIZE_MAX) { tls_test::shake(client, server, piece); }
};

}  // namespace bellhop::tls_test
