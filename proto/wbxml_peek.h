// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "proto/activesync.h"

namespace bellhop::proto {

// As many bytes of a body as tell its root element.
inline constexpr size_t kWbxmlPeekBytesMax = 16;

// Does the root element of a WBXML body fit the command of the query? Servers may dispatch on either, so a device that may
// only use Provision must not carry a Sync inside of it. `head` is the beginning of the body; `ended`: there is no more of
// it. An empty body fits: servers take it as "as before". SendMail, SmartReply and SmartForward may be MIME instead.
// True: it fits. False: more bytes are needed, at most kWbxmlPeekBytesMax in all. Errors: GatewayError::wbxml.
Result<bool> check_wbxml_root(ActiveSyncCommand command, Bytes head, bool ended);

}  // namespace bellhop::proto
