// SPDX-License-Identifier: Apache-2.0
// bellhopd: the server.

#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/bytes.h"
#include "service/config_table.h"
#include "tools/demo.h"
#include "tools/server_main.h"

namespace bellhop::tools {
namespace {

constexpr std::string_view kUsage =
    R"(bellhopd: push notifications for Microsoft Exchange

  bellhopd --config FILE   run the server; SIGTERM ends it in good order, SIGHUP reloads (as `bellhop reload`)
           --take-over     then: in the place of the one that runs, which hands its sockets over and ends; no
                           connection is refused. Where none runs: as without it
  bellhopd --check FILE    check a configuration and the files that it names, and exit
  bellhopd --demo[=N]      run server, Exchange and APNs stand-ins on loopback and print each notification;
                           with N: stop after N, exit 0 only if all arrived exactly once
           --auth=basic|oauth|certificate|dual   then: how its mailboxes log on (basic)
           --http=1.1|2                          then: how devices and callbacks come (1.1)
  bellhopd --version
  bellhopd --help

Examples:
  bellhopd --check /etc/bellhop/bellhop.toml && bellhopd --config /etc/bellhop/bellhop.toml
  bellhopd --config /etc/bellhop/bellhop.toml --take-over
  bellhopd --demo=20

Exit codes: 0 done, 1 failed (the reason is on standard error), 2 wrong arguments,
3 the disk failed while the store was being written (start again after the repair; nothing acknowledged is lost).
See docs/configuration.md for every key, and `bellhop --help` for the command line.
)";

struct Arguments {
  enum class Action { config, check, demo, version, help } action;
  std::string file;
  bool take_over = false;
  DemoOptions demo;
};

// Nothing, and a message on standard error, where the arguments are wrong.
std::optional<Arguments> parse_arguments(int argc, char** argv) {
  auto refuse = [](std::string_view why) {
    fmt::print(stderr, "bellhopd: {}\n\n{}", why, kUsage);
    return std::nullopt;
  };
  if (argc < 2) return refuse("an option is missing");
  std::string_view option = argv[1];
  Arguments arguments{};
  int used = 2;
  auto file_of = [&](std::string_view name) {
    if (option.starts_with(name) && option.size() > name.size() && option[name.size()] == '=') {
      arguments.file = option.substr(name.size() + 1);
    } else if (argc > 2) {
      arguments.file = argv[2];
      used = 3;
    }
    return !arguments.file.empty();
  };
  if (option == "--help" || option == "-h") {
    arguments.action = Arguments::Action::help;
  } else if (option == "--version") {
    arguments.action = Arguments::Action::version;
  } else if (option == "--config" || option.starts_with("--config=")) {
    arguments.action = Arguments::Action::config;
    if (!file_of("--config")) return refuse("--config needs a file");
    if (argc > used && std::string_view(argv[used]) == "--take-over") {
      arguments.take_over = true;
      ++used;
    }
  } else if (option == "--check" || option.starts_with("--check=")) {
    arguments.action = Arguments::Action::check;
    if (!file_of("--check")) return refuse("--check needs a file");
  } else if (option == "--demo" || option.starts_with("--demo=")) {
    arguments.action = Arguments::Action::demo;
    if (option != "--demo") {
      auto count = parse_decimal(option.substr(7));
      if (!count || *count == 0 || *count > 1'000'000) return refuse("--demo=N needs a number from 1 to 1000000");
      arguments.demo.count = *count;
    }
    for (; argc > used; ++used) {
      std::string_view more = argv[used];
      if (more == "--http=1.1" || more == "--http=2") {
        arguments.demo.http2 = more.ends_with('2');
      } else if (more.starts_with("--http=")) {
        return refuse("--http is 1.1 or 2");
      } else if (more.starts_with("--auth=")) {
        auto auth = standin::parse_device_auth(more.substr(7));
        if (!auth) return refuse("--auth is basic, oauth, certificate or dual");
        arguments.demo.auth = *auth;
      } else {
        break;
      }
    }
  } else {
    constexpr std::array<std::string_view, 5> kOptions = {"--config", "--check", "--demo", "--version", "--help"};
    std::string_view name = option.substr(0, option.find('='));
    auto near = service::closest_word(name, kOptions);
    return refuse(fmt::format("unknown option \"{}\"{}", option, near ? fmt::format("; did you mean {}?", *near) : ""));
  }
  if (argc > used) return refuse(fmt::format("unexpected argument \"{}\"", argv[used]));
  return arguments;
}

int run(int argc, char** argv) {
  std::optional<Arguments> arguments = parse_arguments(argc, argv);
  if (!arguments) return kExitUsage;
  prepare_process();
  switch (arguments->action) {
    case Arguments::Action::help: fmt::print("{}", kUsage); return kExitDone;
    case Arguments::Action::version: fmt::print("bellhopd {}\n", BELLHOP_VERSION); return kExitDone;
    case Arguments::Action::check: return check_config(arguments->file);
    case Arguments::Action::demo: return run_demo(arguments->demo);
    case Arguments::Action::config: return run_server(arguments->file, arguments->take_over);
  }
  return kExitUsage;
}

}  // namespace
}  // namespace bellhop::tools

int main(int argc, char** argv) { return bellhop::tools::run(argc, argv); }
