// SPDX-License-Identifier: Apache-2.0
// The settings of a SEG. The first byte: whether somebody says who vouches for Exchange, and how clients name the gateway.
#include "service/config.h"
#include "service/seg_import.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::service;

namespace {

SegImportOptions options_of(uint8_t choice) {
  SegImportOptions options{.file_name = "seg.properties"};
  if ((choice & 1) != 0) options.hosts = {"mail.example.com"};
  if ((choice & 2) != 0) options.ca_file = "/etc/bellhop/exchange-ca.pem";
  if ((choice & 4) != 0) options.spki_pins = {"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="};
  return options;
}

// The least that the tables lack to be a configuration.
std::string whole(std::string_view toml) {
  constexpr std::string_view kListener = "[listen.gateway]\n";
  std::string text = "keyring_file = \"keyring\"\nroles = [\"gateway\"]\n" + std::string(toml);
  size_t at = text.find(kListener);
  BH_CHECK(at != text.npos);
  text.insert(at + kListener.size(), "certificate_file = \"a.pem\"\nprivate_key_file = \"a.key\"\n");
  if (text.find("logon = \"kerberos\"") != text.npos) {
    text += "[gateway.certificates]\nlogon = \"required\"\nca_file = \"users.pem\"\nuser_domains = [\"example.com\"]\n"
            "[gateway.kerberos]\nkeytab_file = \"kcd.keytab\"\nprincipal = \"svc-bellhop@CORP.EXAMPLE\"\n";
  }
  return text;
}

}  // namespace

BELLHOP_FUZZ_TARGET(input) {
  if (input.empty()) return;
  SegImport made = import_seg(as_text(input.subspan(1)), options_of(input[0]));
  bool refused = false;
  for (const SegNote& note : made.notes) {
    BH_CHECK(!note.text.empty() && utf8_valid(note.text));
    refused |= note.refused;
  }
  BH_CHECK(made.ok() == !refused);
  if (!made.ok()) return;
  // What was not refused is a configuration.
  std::string text = whole(made.toml);
  ConfigOutcome outcome = parse_config(text, "/etc/bellhop/bellhop.toml");
  for (const ConfigProblem& problem : outcome.problems) fmt::print(stderr, "{}\n{}\n", to_text(problem), text);
  BH_CHECK(outcome.problems.empty());
}
