// SPDX-License-Identifier: Apache-2.0
#pragma once

// How the command line of `bellhop` is put together: what tools/bellhop.cc and tools/cli share. These files alone are
// compiled with exceptions, because CLI11 reports by them; none includes what holds a Task.

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "tools/commands/admin_client.h"

namespace bellhop::tools {

// What the arguments chose; runs after they were all read.
using Action = std::function<int()>;

void choose(CLI::App* command, Action& chosen, Action action);
CLI::App* group(CLI::App& parent, const std::string& name, const std::string& help);

// What the help of a command ends with: an example, each line a command, and what else there is to know. Every command
// has one; finish_help() adds the exit codes.
void teach(CLI::App* command, const std::string& example, const std::string& notes = "");

// The option's value is a file of this host: help and completion say so.
CLI::Option* names_file(CLI::Option* option);

// --socket or --config: which server; the default socket where neither is given. --timeout.
void add_target(CLI::App* command, AdminTarget& target);

// After all commands are there.
void finish_help(CLI::App& root);

// status, users, device list|show|remove, subscription. `devices` is the group of device commands.
void add_operator_commands(CLI::App& root, CLI::App& devices, Action& chosen);
// gateway show|device|account|device-type|mail-client|redirects|forget-redirects
void add_gateway_commands(CLI::App& root, Action& chosen);
// completion bash|zsh|fish; `root` outlives the action.
void add_completion_commands(CLI::App& root, Action& chosen);

// "did you mean …?" for what was refused; empty where nothing is near.
std::string suggestion_for(const CLI::App& root, int argc, const char* const* argv);

}  // namespace bellhop::tools
