// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "proto/autodiscover.h"

// The other side of Autodiscover. Used by the stand-in Exchange and by tests.
namespace bellhop::proto {

// A question of either form.
struct AutodiscoverRequest {
  AutodiscoverForm form = AutodiscoverForm::soap;
  std::string_view address;
};

class AutodiscoverRequestReader final : public XmlPathReader {
 public:
  explicit AutodiscoverRequestReader(uint64_t hash_salt, uint32_t document_bytes_max = kAutodiscoverBytesMax);

  // Valid until reset(). Errors of Domain::xml; EwsError::unexpected_message, missing_part (no address).
  Result<const AutodiscoverRequest*> finish();
  void reset();

 private:
  Status part_started(uint8_t part, const XmlAttributes& attributes) override;
  Status part_ended(uint8_t part, std::string_view text) override;

  TextArena texts_;
  AutodiscoverRequest request_;
};

// Writes an answer; replaces `out`. Text that XML cannot express is replaced.
void write_autodiscover_answer(AutodiscoverForm form, const AutodiscoverAnswer& answer, std::string& out);

}  // namespace bellhop::proto
