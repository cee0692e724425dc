// SPDX-License-Identifier: Apache-2.0
#include "tools/cli/tree.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>
#include <string_view>
#include <vector>

#include "service/config_table.h"

namespace bellhop::tools {
namespace {

constexpr std::string_view kExitCodes = "Exit codes: 0 done, 1 failed (the reason is on standard error), 2 wrong arguments.";

void finish_command(CLI::App& command) {
  std::string footer = command.get_footer();
  if (footer.find("Exit codes:") == std::string::npos) {
    command.footer(footer + (footer.empty() ? "" : "\n\n") + std::string(kExitCodes));
  }
}

// Calls f(option) for the command's own options and those of its option groups.
template <class F>
void for_each_option(const CLI::App& command, F&& f) {
  for (const CLI::Option* option : command.get_options()) f(*option);
  for (const CLI::App* part : command.get_subcommands([](const CLI::App* app) { return app->get_name().empty(); })) {
    for_each_option(*part, f);
  }
}

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  std::vector<std::string_view> views(known.begin(), known.end());
  std::optional<std::string_view> found = service::closest_word(word, views);
  return found ? std::string(*found) : std::string();
}

}  // namespace

void choose(CLI::App* command, Action& chosen, Action action) {
  command->callback([&chosen, action = std::move(action)] { chosen = action; });
}

CLI::App* group(CLI::App& parent, const std::string& name, const std::string& help) {
  CLI::App* command = parent.add_subcommand(name, help);
  command->require_subcommand(1);
  return command;
}

void teach(CLI::App* command, const std::string& example, const std::string& notes) {
  command->footer((notes.empty() ? "" : notes + "\n\n") + "Example:\n  " + example);
}

CLI::Option* names_file(CLI::Option* option) { return option->type_name("FILE"); }

void add_target(CLI::App* command, AdminTarget& target) {
  auto* where = command->add_option_group("server", "Which server; the one at the default socket where neither is given");
  names_file(where->add_option("--config", target.config, "The server's configuration, which names the admin socket"));
  names_file(where->add_option("--socket", target.socket, "The admin socket itself"));
  where->require_option(0, 1);
  command->add_option("--timeout", target.timeout_s, "How long an answer may take, in seconds")->check(CLI::Range(1u, 3600u));
}

void finish_help(CLI::App& root) {
  for (CLI::App* command : root.get_subcommands([](CLI::App* app) { return !app->get_name().empty(); })) {
    finish_command(*command);
    finish_help(*command);
  }
}

std::string suggestion_for(const CLI::App& root, int argc, const char* const* argv) {
  const CLI::App* command = &root;
  for (int i = 1; i < argc; ++i) {
    std::string_view word = argv[i];
    std::string name(word.substr(0, word.find('=')));
    if (word.starts_with("--") && word.size() > 2) {
      std::vector<std::string> known;
      bool found = false, takes_value = false;
      for_each_option(*command, [&](const CLI::Option& option) {
        for (const std::string& long_name : option.get_lnames()) {
          known.push_back("--" + long_name);
          if (known.back() != name) continue;
          found = true;
          takes_value = option.get_items_expected_max() > 0;
        }
      });
      if (!found) {
        std::string near = nearest(name, known);
        return near.empty() ? "" : fmt::format("did you mean {}?", near);
      }
      if (takes_value && name.size() == word.size()) ++i;
    } else if (!word.starts_with("-")) {
      std::vector<std::string> known;
      const CLI::App* next = nullptr;
      for (const CLI::App* part : command->get_subcommands([](const CLI::App* app) { return !app->get_name().empty(); })) {
        known.push_back(part->get_name());
        if (known.back() == word) next = part;
      }
      if (!next && !known.empty()) {
        std::string near = nearest(word, known);
        return near.empty() ? fmt::format("there is no command \"{}\" here, but: {}", word, fmt::join(known, ", "))
                            : fmt::format("there is no command \"{}\"; did you mean {}?", word, near);
      }
      if (next) command = next;
    }
  }
  return "";
}

}  // namespace bellhop::tools
