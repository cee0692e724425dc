// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proto/ews.h"
#include "proto/text_arena.h"
#include "proto/xml_path.h"

// Autodiscover: where a mailbox's EWS is. Two forms of the same question: SOAP (GetUserSettings, MS-OXWSADISC) and plain
// XML, "POX" (MS-OXDSCLI). bellhop asks for nothing but the EWS URL.
namespace bellhop::proto {

enum class AutodiscoverForm : uint8_t { soap, pox };
// "/autodiscover/autodiscover.svc", "/autodiscover/autodiscover.xml".
std::string_view autodiscover_path(AutodiscoverForm form);

// Value of SOAPAction for the SOAP form, with its quotes.
inline constexpr std::string_view kGetUserSettingsAction =
    "\"http://schemas.microsoft.com/exchange/2010/Autodiscover/Autodiscover/GetUserSettings\"";

// Writes the question. Replaces `out` (wiped first, never grown while writing: it holds an address). `url` is the one that
// the request goes to; the SOAP form names it. Errors: EwsError::missing_part (no address), bad_value (one of them too
// long), forbidden_text; `out` is then empty.
Status write_autodiscover_request(AutodiscoverForm form, std::string_view address, std::string_view url,
                                  std::string& out);

enum class AutodiscoverKind : uint8_t {
  settings,          // external_url and internal_url, at least one
  redirect_address,  // ask again as `redirect`, an address (of another domain)
  redirect_url,      // ask again at `redirect`, a URL
  refused,           // `error` says why; empty where the answer has no EWS URL at all
};

// An answer. Views; what they hold is the server's word and unchecked.
struct AutodiscoverAnswer {
  AutodiscoverKind kind = AutodiscoverKind::refused;
  std::string_view external_url;  // ExternalEwsUrl; EwsUrl of the protocol EXPR
  std::string_view internal_url;  // InternalEwsUrl; EwsUrl of the protocol EXCH
  std::string_view redirect;
  std::string_view error;  // "InvalidUser", "600", the code of a SOAP fault
};

inline constexpr uint32_t kAutodiscoverBytesMax = 256 * 1024;
inline constexpr uint32_t kAutodiscoverUrlBytesMax = 2048;

// Reads an answer of either form. Reusable: feed()* finish(), reset(). Belongs to one core.
class AutodiscoverReader final : public XmlPathReader {
 public:
  // `hash_salt`: see XmlReader.
  explicit AutodiscoverReader(uint64_t hash_salt, uint32_t document_bytes_max = kAutodiscoverBytesMax);

  // The answer, owned by the reader and valid until reset(). Errors of Domain::xml; EwsError::unexpected_message (neither
  // form: HTML, for one), missing_part (a redirect to nowhere), bad_value (a longer URL than kAutodiscoverUrlBytesMax).
  Result<const AutodiscoverAnswer*> finish();
  void reset();

 private:
  Status part_started(uint8_t part, const XmlAttributes& attributes) override;
  Status part_ended(uint8_t part, std::string_view text) override;
  Status setting_ended();
  Status protocol_ended();
  Status keep(std::string_view& field, std::string_view text);

  TextArena texts_;
  AutodiscoverAnswer answer_;
  // Of the UserSetting or Protocol being read.
  std::string_view name_, value_;
  std::string_view action_;         // POX: Action; SOAP: ErrorCode of the user
  std::string_view redirect_url_, redirect_address_;
};

}  // namespace bellhop::proto
