// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace bellhop::proto {

// Registers the texts of all domains of this folder. Once, at start, before other threads.
void register_error_texts();

}  // namespace bellhop::proto
