// SPDX-License-Identifier: Apache-2.0
// `bellhop completion SHELL`: scripts that are made from the same tree of commands that the arguments are read by.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/cli/tree.h"
#include "tools/server_main.h"

namespace bellhop::tools {
namespace {

// What follows an option, or a command that takes an argument.
enum class ValueKind : uint8_t { none, anything, file, choice };

struct OptionFacts {
  std::string name;  // with its dashes
  std::string help;
  ValueKind value = ValueKind::none;
  std::vector<std::string> choices;
};

// One command and the way to it: "token add"; "" is the root.
struct CommandFacts {
  std::string place;
  std::vector<std::pair<std::string, std::string>> commands;  // name, help
  std::vector<OptionFacts> options;
  bool takes_file = false;
};

// "TEXT:{basic,oauth}" → basic, oauth: what CLI::IsMember makes of itself.
std::vector<std::string> choices_of(std::string_view type) {
  size_t begin = type.find('{'), end = type.rfind('}');
  std::vector<std::string> choices;
  if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) return choices;
  std::string_view list = type.substr(begin + 1, end - begin - 1);
  while (!list.empty()) {
    size_t comma = std::min(list.find(','), list.size());
    choices.emplace_back(list.substr(0, comma));
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return choices;
}

void add_option(CommandFacts& facts, const CLI::Option& option) {
  std::string type = option.get_type_name();
  bool file = type.starts_with("FILE");
  if (option.get_positional() && file) facts.takes_file = true;
  for (const std::string& name : option.get_lnames()) {
    std::string dashed = "--" + name;
    if (std::ranges::find(facts.options, dashed, &OptionFacts::name) != facts.options.end()) continue;
    OptionFacts one{.name = dashed, .help = option.get_description()};
    if (option.get_items_expected_max() > 0) {
      one.choices = choices_of(type);
      one.value = file ? ValueKind::file : one.choices.empty() ? ValueKind::anything : ValueKind::choice;
    }
    facts.options.push_back(std::move(one));
  }
}

void add_options(CommandFacts& facts, const CLI::App& command) {
  for (const CLI::Option* option : command.get_options()) add_option(facts, *option);
  for (const CLI::App* part : command.get_subcommands([](const CLI::App* app) { return app->get_name().empty(); })) {
    add_options(facts, *part);
  }
}

void collect(const CLI::App& command, const std::string& place, std::vector<CommandFacts>& all) {
  CommandFacts facts{.place = place};
  add_options(facts, command);
  auto named = command.get_subcommands([](const CLI::App* app) { return !app->get_name().empty(); });
  for (const CLI::App* part : named) facts.commands.emplace_back(part->get_name(), part->get_description());
  all.push_back(std::move(facts));
  for (const CLI::App* part : named) collect(*part, place.empty() ? part->get_name() : place + " " + part->get_name(), all);
}

std::string replaced(std::string_view text, char from, std::string_view to) {
  std::string out;
  for (char c : text) {
    if (c == from) {
      out += to;
    } else {
      out += c;
    }
  }
  return out;
}

// In single quotes of sh; in those of fish.
std::string sh_quoted(std::string_view text) { return "'" + replaced(text, '\'', R"('\'')") + "'"; }
std::string fish_quoted(std::string_view text) {
  return "'" + replaced(replaced(text, '\\', R"(\\)"), '\'', R"(\')") + "'";
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

// The patterns of a case: every command's place, as the scripts write it: with a space before each word.
std::string places(const std::vector<CommandFacts>& all) {
  std::string text;
  for (const CommandFacts& facts : all) {
    if (!facts.place.empty()) text += (text.empty() ? "" : "|") + sh_quoted(" " + facts.place);
  }
  return text;
}

std::string shell_place(const CommandFacts& facts) { return facts.place.empty() ? "" : " " + facts.place; }

// A case over "place option", with what offers the option's values.
std::string value_cases(const std::vector<CommandFacts>& all, std::string_view files, std::string_view choice,
                        std::string_view anything) {
  std::string text;
  for (const CommandFacts& facts : all) {
    for (const OptionFacts& option : facts.options) {
      if (option.value == ValueKind::none) continue;
      std::string offer(option.value == ValueKind::file ? files : option.value == ValueKind::anything ? anything : choice);
      if (option.value == ValueKind::choice) offer = fmt::format(fmt::runtime(choice), sh_quoted(joined(option.choices)));
      text += fmt::format("    {}) {} ;;\n", sh_quoted(shell_place(facts) + " " + option.name), offer);
    }
  }
  return text;
}

// ---- bash ----

std::string bash_script(const std::vector<CommandFacts>& all) {
  std::string text = fmt::format(R"(# Completion of bellhop for bash, made by `bellhop completion bash`.
_bellhop() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" option="${{COMP_WORDS[COMP_CWORD-1]}}" place="" commands="" options="" files="" word i
  if [[ $current == "=" ]]; then
    current=""
  elif [[ $option == "=" && COMP_CWORD -ge 2 ]]; then
    option="${{COMP_WORDS[COMP_CWORD-2]}}"
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="$place ${{COMP_WORDS[i]}}"
    case "$word" in
    {}) place="$word" ;;
    esac
  done
  COMPREPLY=()
  case "$place $option" in
)", places(all));
  text += value_cases(all, "_bellhop_files \"$current\"; return",
                      "mapfile -t COMPREPLY < <(compgen -W {} -- \"$current\"); return", "return");
  text += "  esac\n  case \"$place\" in\n";
  for (const CommandFacts& facts : all) {
    std::vector<std::string> commands, options;
    for (const auto& [name, help] : facts.commands) commands.push_back(name);
    for (const OptionFacts& option : facts.options) options.push_back(option.name);
    text += fmt::format("    {}) commands={} options={}{} ;;\n", sh_quoted(shell_place(facts)), sh_quoted(joined(commands)),
                        sh_quoted(joined(options)), facts.takes_file ? " files=1" : "");
  }
  text += R"(  esac
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
  elif [[ -n $commands ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
  elif [[ -n $files ]]; then
    _bellhop_files "$current"
  fi
}
_bellhop_files() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -f -- "$1")
}
complete -F _bellhop bellhop
)";
  return text;
}

// ---- zsh ----

// name:help, for _describe.
std::string zsh_entry(std::string_view name, std::string_view help) {
  return sh_quoted(replaced(name, ':', R"(\:)") + ":" + replaced(help, ':', R"(\:)"));
}

std::string zsh_script(const std::vector<CommandFacts>& all) {
  std::string text = fmt::format(R"(#compdef bellhop
# Completion of bellhop for zsh, made by `bellhop completion zsh`.
_bellhop() {{
  local place="" word option="${{words[CURRENT-1]}}" files=""
  local -a commands options
  for word in "${{(@)words[2,CURRENT-1]}}"; do
    case "$place $word" in
    {}) place="$place $word" ;;
    esac
  done
  if [[ ${{words[CURRENT]}} == --*=* ]]; then
    option="${{words[CURRENT]%%=*}}"
    compset -P '*='
  fi
  case "$place $option" in
)", places(all));
  text += value_cases(all, "_files; return", "compadd -- ${{=:-{}}}; return", "_message value; return");
  text += "  esac\n  case \"$place\" in\n";
  for (const CommandFacts& facts : all) {
    std::string commands, options;
    for (const auto& [name, help] : facts.commands) commands += " " + zsh_entry(name, help);
    for (const OptionFacts& option : facts.options) options += " " + zsh_entry(option.name, option.help);
    text += fmt::format("    {}) commands=({}) options=({}){} ;;\n", sh_quoted(shell_place(facts)), commands, options,
                        facts.takes_file ? " files=1" : "");
  }
  text += R"(  esac
  if [[ ${words[CURRENT]} == -* ]]; then
    _describe option options
  elif (( ${#commands} )); then
    _describe command commands
  elif [[ -n $files ]]; then
    _files
  fi
}
# In a folder of $fpath this file is the function's body until its first call; else it was sourced.
if [[ ${funcstack[1]} == _bellhop ]]; then
  _bellhop "$@"
else
  compdef _bellhop bellhop
fi
)";
  return text;
}

// ---- fish ----

std::string fish_script(const std::vector<CommandFacts>& all) {
  std::string text =
      "# Completion of bellhop for fish, made by `bellhop completion fish`.\n"
      "function __bellhop_at\n"
      "  set -l place ''\n"
      "  set -l words (commandline -opc)\n"
      "  for word in $words[2..-1]\n"
      "    switch \"$place $word\"\n      case";
  for (const CommandFacts& facts : all) {
    if (!facts.place.empty()) text += " " + fish_quoted(shell_place(facts));
  }
  text +=
      "\n        set place \"$place $word\"\n"
      "    end\n"
      "  end\n"
      "  test \"$place\" = \"$argv[1]\"\n"
      "end\n"
      "complete -c bellhop -f\n";
  for (const CommandFacts& facts : all) {
    std::string at = fmt::format("complete -c bellhop -n {}", fish_quoted("__bellhop_at " + fish_quoted(shell_place(facts))));
    for (const auto& [name, help] : facts.commands) text += fmt::format("{} -a {} -d {}\n", at, name, fish_quoted(help));
    if (facts.takes_file) text += at + " -F\n";
    for (const OptionFacts& option : facts.options) {
      std::string value;
      if (option.value == ValueKind::file) value = " -r -F";
      if (option.value == ValueKind::anything) value = " -x";
      if (option.value == ValueKind::choice) value = " -x -a " + fish_quoted(joined(option.choices));
      text += fmt::format("{} -l {}{} -d {}\n", at, option.name.substr(2), value, fish_quoted(option.help));
    }
  }
  return text;
}

using Write = std::string (*)(const std::vector<CommandFacts>& all);

void add_shell(CLI::App& shells, const CLI::App& root, Action& chosen, const std::string& shell, Write write,
               const std::string& example) {
  CLI::App* command = shells.add_subcommand(shell, "Print the script for " + shell);
  choose(command, chosen, [&root, write] {
    std::vector<CommandFacts> all;
    collect(root, "", all);
    fmt::print("{}", write(all));
    return kExitDone;
  });
  teach(command, example);
}

}  // namespace

void add_completion_commands(CLI::App& root, Action& chosen) {
  CLI::App* shells = group(root, "completion", "Scripts that let a shell complete bellhop's arguments");
  add_shell(*shells, root, chosen, "bash", &bash_script,
            "bellhop completion bash > /usr/share/bash-completion/completions/bellhop\n  source <(bellhop completion bash)");
  add_shell(*shells, root, chosen, "zsh", &zsh_script,
            "bellhop completion zsh > /usr/local/share/zsh/site-functions/_bellhop");
  add_shell(*shells, root, chosen, "fish", &fish_script,
            "bellhop completion fish > ~/.config/fish/completions/bellhop.fish");
}

}  // namespace bellhop::tools
