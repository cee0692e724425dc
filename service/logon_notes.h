// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/task.h"
#include "service/core.h"
#include "service/mailbox_cache.h"

namespace bellhop::service {

// The logon rule (service/logon_rule.h) in the store, synced, so that no crash makes us try more often than the rule
// allows. Where it cannot be written, the mailbox remembers it. On the mailbox's home core.
Task<void> write_logon_rule(Core& core, const store::CapabilityHash& capability, Mailbox& mailbox, store::LogonRule rule);
// One more refusal after `before`.
Task<void> note_logon_refused(Core& core, const store::CapabilityHash& capability, Mailbox& mailbox,
                              store::LogonRule before);

}  // namespace bellhop::service
