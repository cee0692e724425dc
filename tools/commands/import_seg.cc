// SPDX-License-Identifier: Apache-2.0
#include "tools/commands/import_seg.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/io.h"
#include "service/seg_import.h"
#include "tools/server_main.h"

namespace bellhop::tools {

int import_seg_settings(const ImportSegOptions& options) {
  auto text = io::read_file(options.file);
  if (!text) {
    complain(fmt::format("{}: cannot read the settings: {}", options.file, error_text(text.error())));
    return kExitFailed;
  }
  service::SegImport made = service::import_seg(
      *text, {.file_name = options.file, .hosts = options.hosts, .ca_file = options.ca_file, .spki_pins = options.spki_pins});
  wipe(*text);
  for (const service::SegNote& note : made.notes) {
    std::string place = note.line == 0 ? options.file : fmt::format("{}:{}", options.file, note.line);
    fmt::print(stderr, "{}: {}: {}\n", place, note.refused ? "refused" : "left out", note.text);
  }
  if (!made.ok()) {
    auto refused = std::ranges::count(made.notes, true, &service::SegNote::refused);
    complain(fmt::format("{}: nothing was imported, for {} of its settings {} refused; change them as the lines above say, and "
                         "import again", options.file, refused, refused == 1 ? "is" : "are"));
    return kExitFailed;
  }
  fmt::print("{}", made.toml);
  return kExitDone;
}

}  // namespace bellhop::tools
