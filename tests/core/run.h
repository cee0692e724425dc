// SPDX-License-Identifier: Apache-2.0
#pragma once

// How tests of both back ends run their flows. Tests see only the seam: what they link decides what is behind it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "core/io.h"
#include "core/socket.h"

namespace bellhop::test {

// Runs flow(core) as the root flow of each core until all have ended. The simulator's seed is BELLHOP_TEST_SEED or 1.
inline void run_on_cores(unsigned cores, const std::function<Task<void>(unsigned)>& flow) {
  io::ClusterOptions options;
  options.cores = cores;
  options.connections_max = 256;
  options.receive_buffers = 64;
  if (const char* seed = std::getenv("BELLHOP_TEST_SEED")) options.seed = std::strtoull(seed, nullptr, 10);
  Status status = io::run_cluster(options, flow);
  ASSERT_TRUE(status) << io::explain_start_failure(status.error());
}

inline io::Endpoint loopback(uint16_t port = 0) { return {.tcp = {.ip = *IpAddress::parse("127.0.0.1"), .port = port}, .unix_path = {}}; }
inline io::Endpoint unix_endpoint() {
  return {.tcp = {}, .unix_path = "/tmp/bellhop-test-" + std::to_string(io::random_u64()) + ".socket"};
}

// What a client connects to, to reach this listener.
inline io::Endpoint endpoint_of(io::Handle listener, const io::Endpoint& bound) {
  if (!bound.unix_path.empty()) return bound;
  Result<SocketAddress> address = io::local_address(listener);
  BH_CHECK(address);
  return {.tcp = *address, .unix_path = {}};
}

// Bytes of a stream at an offset; each place differs from its neighbours.
inline uint8_t pattern(size_t at) { return static_cast<uint8_t>(at * 131 + (at >> 8) * 17); }

}  // namespace bellhop::test

// In a coroutine, where ASSERT_TRUE cannot return.
#define CO_ASSERT(condition)                        \
  if (!(condition)) {                               \
    ADD_FAILURE() << "does not hold: " #condition;  \
    co_return;                                      \
  }
