// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/base/bytes.h"
#include "service/http_exchange.h"

namespace bellhop::standin {

// A request body as one text of at most bytes_max bytes; wiped, since it may hold credentials.
class BodyText final : public service::BodySink {
 public:
  explicit BodyText(size_t bytes_max) : bytes_max_(bytes_max) {}
  ~BodyText() { wipe(text); }
  // Errors: CoreError::limit.
  Status on_body(Bytes piece) override {
    if (text.size() + piece.size() > bytes_max_) return fail(core_error(CoreError::limit));
    text.append(as_text(piece));
    return {};
  }
  std::string text;

 private:
  size_t bytes_max_;
};

}  // namespace bellhop::standin
