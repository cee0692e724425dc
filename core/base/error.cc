// SPDX-License-Identifier: Apache-2.0
#include "core/base/error.h"

#include <array>
#include <cstring>

namespace bellhop {
namespace {

struct DomainText {
  std::string name;
  ErrorTextFunction function = nullptr;
};

// Written at start, before threads; read-only afterwards.
std::array<DomainText, 256>& domain_texts() {
  static std::array<DomainText, 256> texts;
  return texts;
}

std::string core_error_text(uint16_t code) {
  switch (static_cast<CoreError>(code)) {
    case CoreError::canceled: return "canceled";
    case CoreError::timed_out: return "deadline passed";
    case CoreError::closed: return "stream closed";
    case CoreError::limit: return "a configured limit was reached";
    case CoreError::unsupported: return "not supported by this system";
  }
  return "code " + std::to_string(code);
}

}  // namespace

void register_error_text(Domain domain, std::string_view name, ErrorTextFunction function) {
  domain_texts()[static_cast<uint8_t>(domain)] = {std::string(name), function};
}

std::string error_text(const Error& error) {
  std::string text;
  switch (error.domain) {
    case Domain::none: return "no error";
    case Domain::os: {
      const char* description = strerrordesc_np(error.code);  // null for a number that the system does not know
      text = description ? std::string("os: ") + description : "os: error " + std::to_string(error.code);
      break;
    }
    case Domain::core: text = "core: " + core_error_text(error.code); break;
    default: {
      const DomainText& entry = domain_texts()[static_cast<uint8_t>(error.domain)];
      if (entry.function) return entry.name + ": " + entry.function(error.code, error.detail);
      text = "domain " + std::to_string(static_cast<int>(error.domain)) + " code " + std::to_string(error.code);
    }
  }
  if (error.detail != 0) text += " (detail " + std::to_string(error.detail) + ")";
  return text;
}

}  // namespace bellhop
