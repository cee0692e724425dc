// SPDX-License-Identifier: Apache-2.0
#pragma once

// A small busy world for the simulator's own tests: on each of three cores, clients talk to an echo server over
// connections, cores call each other, workers work, timers run.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/cross_core.h"
#include "core/sim/world.h"
#include "core/sleep.h"
#include "core/socket.h"
#include "core/sync.h"
#include "tests/core/run.h"

namespace bellhop::test {

inline io::ClusterOptions options_of(uint64_t seed, unsigned cores = 1) {
  io::ClusterOptions options;
  options.cores = cores;
  options.seed = seed;
  options.receive_buffers = 64;
  return options;
}

// Echoes until the peer ends or an error comes.
Task<void> echo_until_end(Socket socket);
// Accepts until the listener is closed; joins its connections.
Task<void> echo_server(Listener& listener);
// Sends the text and reads as much back. Errors: what the socket says; closed where the stream ended early.
Task<Result<std::string>> ask_echo(io::Endpoint endpoint, std::string text);

// The busy world. `order`, where given, notes in which order things ended.
void run_scenario(uint64_t seed, std::vector<unsigned>* order = nullptr, size_t text_max = 3000);

}  // namespace bellhop::test
