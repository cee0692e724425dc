// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace bellhop::proto {

// Registers the texts of the domains http, url and json. Once, at start, before other threads.
void register_error_texts();

}  // namespace bellhop::proto
