// SPDX-License-Identifier: Apache-2.0
#include "proto/error_texts.h"

#include "core/base/error.h"
#include "proto/ews.h"
#include "proto/gateway_error.h"
#include "proto/http2.h"
#include "proto/http_error.h"
#include "proto/json.h"
#include "proto/url.h"
#include "proto/xml.h"

namespace bellhop::proto {

void register_error_texts() {
  register_error_text(Domain::http, "http", http_error_text);
  register_error_text(Domain::url, "url", url_error_text);
  register_error_text(Domain::json, "json", json_error_text);
  register_error_text(Domain::gateway, "gateway", gateway_error_text);
  register_http2_error_texts();
  register_xml_error_texts();
  register_ews_error_texts();
}

}  // namespace bellhop::proto
