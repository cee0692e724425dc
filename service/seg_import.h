// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bellhop::service {

// What the settings do not say, or what is to take the place of something in them.
struct SegImportOptions {
  std::string file_name;                // for the comments in the result
  std::vector<std::string> hosts;       // that clients name, besides the external URL of the settings
  std::string ca_file;                  // who vouches for Exchange, where the settings ignore its certificate; or
  std::vector<std::string> spki_pins;   // the keys that it may have
};

// A line of the settings that did not become configuration.
struct SegNote {
  uint32_t line = 0;     // 0: of the whole file
  bool refused = false;  // else it is left out, and the text says what takes its place
  std::string text;      // names the setting, never its value: it may be a password
};

struct SegImport {
  std::string toml;             // tables for bellhop.toml; empty where something was refused
  std::vector<SegNote> notes;   // in the order of the file
  bool ok() const { return !toml.empty(); }
};

// Turns the settings of a SEG V2 (lines NAME=VALUE, see proto/properties.h) into tables of ours: the listener, and one route
// with its ActiveSync and EWS upstreams; where SEG has one set of timeouts, limits and trust for both, both get them.
//
// Names are read by their words, whatever joins them: email.server.connection.timeout, emailServerConnectionTimeout and
// EMAIL_SERVER_CONNECTION_TIMEOUT are one, since they differ between its versions and between file and console. Each line of
// the result says which setting it came from. A number without a unit in the name is one of milliseconds. What ours does
// not do for the sake of safety is refused, and so is all of the import; what it does in another way is left out.
SegImport import_seg(std::string_view text, const SegImportOptions& options);

}  // namespace bellhop::service
