// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bellhop::proto {

// Who tries, and with what. One user has a phone that may come in and others that may not; another user has a phone of
// his own. Passwords are those of the stand-in.
struct BypassSetting {
  std::string host = "localhost";
  std::string user = "user1@example.com", other_user = "user2@example.com";
  std::string password = "correct horse";
  std::string allowed_device = "ALLOWEDPHONE1", blocked_device = "BLOCKEDPHONE1";
  std::string blocked_guid = "9A01FF3C00D24E5F8811223344556677";  // as text; a raw GUID in the base64 form
  std::string other_device = "ALLOWEDPHONE2";                     // may come in, as the other user's
  std::string device_type = "iPhone";
};

// One attempt to come past the gateway: the bytes of an HTTP/1.1 connection. Every request in it carries
// "variant-NUMBER" as User-Agent, so that an upstream can tell whose it was.
struct BypassVariant {
  enum class Expect : uint8_t {
    refused,  // nothing of it reaches an upstream
    lawful,   // something may, in canonical form and as what it is: its user, the allowed device, an allowed operation
  };
  uint32_t number = 0;
  std::string family;  // "path", "query", ...
  Expect expect = Expect::refused;
  std::string bytes;
};

// All of them, the same in each run.
std::vector<BypassVariant> bypass_variants(const BypassSetting& setting = {});

// Collects variants; internal to the generator.
class BypassWriter {
 public:
  using Expect = BypassVariant::Expect;
  using Fields = std::vector<std::pair<std::string, std::string>>;

  explicit BypassWriter(const BypassSetting& s) : setting(s) {}
  // "@N@" in `bytes` becomes the number.
  void add(std::string_view family, Expect expect, std::string bytes);
  void refused(std::string_view family, std::string bytes) { add(family, Expect::refused, std::move(bytes)); }
  void lawful(std::string_view family, std::string bytes) { add(family, Expect::lawful, std::move(bytes)); }

  // Requests of the user that are right in every respect, but for what the arguments say.
  std::string request(std::string_view method, std::string_view target, const Fields& fields,
                      std::string_view body) const;
  std::string basic(std::string_view user) const;
  Fields ews_fields() const;
  Fields sync_fields() const;
  std::string ews(std::string_view target = "/EWS/Exchange.asmx") const;
  std::string ews_with(const Fields& more, std::string_view body) const;
  std::string sync(std::string_view query) const;
  std::string sync_target(std::string_view target) const;
  std::string query(std::string_view device, std::string_view command = "FolderSync") const;
  static std::string envelope(std::string_view header, std::string_view body);
  static std::string get_folder_operation();
  static std::string get_folder() { return envelope("", get_folder_operation()); }
  static std::string folder_sync_body();

  const BypassSetting& setting;
  std::vector<BypassVariant> variants;
};

// The families, each in one function.
void add_path_variants(BypassWriter& out);
void add_method_variants(BypassWriter& out);
void add_header_variants(BypassWriter& out);
void add_framing_variants(BypassWriter& out);
void add_query_variants(BypassWriter& out);
void add_identity_variants(BypassWriter& out);
void add_soap_variants(BypassWriter& out);

}  // namespace bellhop::proto
