// SPDX-License-Identifier: Apache-2.0
#include "service/logon_notes.h"

#include "service/logon_rule.h"

namespace bellhop::service {

Task<void> note_logon_refused(Core& core, const store::CapabilityHash& capability, Mailbox& mailbox,
                              store::LogonRule before) {
  store::LogonRule refused = logon_refused(before, io::wall_now(), core.config().ews);
  log_line(core.log, LogLevel::warning, "credentials_refused", field("user", core.fingerprint(mailbox.user)),
           field("refusals", uint32_t{refused.failed}));
  co_await write_logon_rule(core, capability, mailbox, refused);
}

Task<void> write_logon_rule(Core& core, const store::CapabilityHash& capability, Mailbox& mailbox,
                            store::LogonRule rule) {
  store::SubscriptionPatch patch;
  patch.logon = rule;
  Status written = co_await core.node.store.update_subscription(capability, patch);
  if (written || is(written.error(), store::StoreError::not_found)) {
    mailbox.logon_unwritten.reset();
    co_return;
  }
  mailbox.logon_unwritten = rule;
  mailbox.logon_of = capability;
  log_line(core.log, LogLevel::error, "logon_rule_not_written", field("user", core.fingerprint(mailbox.user)),
           field("error", written.error()));
}

}  // namespace bellhop::service
