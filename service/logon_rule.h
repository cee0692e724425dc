// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/time.h"
#include "service/config.h"
#include "store/records.h"

namespace bellhop::service {

// Ten mails must not lock an account: after Exchange refused the credentials of an envelope, only
// ews.logons_after_refusal_per_hour_max further logons an hour are made with it, ews.logons_after_refusal_max in all.
// LogonRule::failed counts the refusals.

// True where the envelope's credentials may be tried now.
bool logon_allowed(const store::LogonRule& rule, WallTime now, const EwsConfig& config);
// The rule after one more refusal.
store::LogonRule logon_refused(const store::LogonRule& rule, WallTime now, const EwsConfig& config);

}  // namespace bellhop::service
