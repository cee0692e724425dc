// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tools/standin/control.h"
#include "tools/standin/exchange.h"

namespace bellhop::standin {

// The control API of the Exchange stand-in. All bodies are JSON objects; times are in milliseconds.
//
//   POST   /mailboxes {"address","password","username"?}, or {"count","prefix","domain","password"}: prefix1@domain …
//   POST   /deliver   {"address","subject"?,"senderName"?,"senderAddress"?,"conversation"?,"preview"?,"private"?,"gone"?,
//                      "count"?}, or {"mails":[{"address","subject"}…]} → {"delivered","atNs"}, or {"count","rate"?}:
//                      over all mailboxes
//   POST   /read      {"address","count"?}   the newest unread items become read
//   POST   /delete    {"address","count"?}   the newest items are deleted
//   POST   /notification-error {"address","code"}   each subscription gets a notification that is an error
//   POST   /autodiscover {"soap"?: MODE,"pox"?: MODE,"target"?,"httpLocation"?}   modes: see AutodiscoverMode
//   POST   /faults    {"kind","operation"?,"mailbox"?,"count"?,"delayMs"?,"backOffMs"?,"code"?,"minutes"?}: for so many
//                     of the scaled clock; {"kind":"drop","minutes":10} is an EWS that is dead for ten minutes
//   POST   /activesync-faults {"kind","command"?,"mailbox"?,"count"?,"delayMs"?,"backOffMs"?,"status"?,"target"?}: see ActiveSyncFault
//   POST   /callback-faults {"kind","mailbox"?,"count"?}
//   DELETE /faults    of all kinds
//   POST   /restart   all subscriptions are forgotten
//   GET    /books, /books?address=…
//   GET    /ledger?after=N&limit=N → {"entries":[…],"last","forgotten"}; see ExchangeEntry. Times are of CLOCK_MONOTONIC
//   GET    /requests?after=N&limit=N → {"requests":[…],"last","forgotten"}; see ExchangeRequest. Times are of CLOCK_MONOTONIC
//   GET    /devices?address=…  → {"devices":[{"id","type","userAgent","model","os","wipe","policyKey","commands"}]}, of ActiveSync
//   POST   /wipe      {"address","deviceId"}   the device is told to wipe itself
//   GET    /subscriptions?address=…  → {"subscriptions":[{"id","url","watermark"}]}; the URL holds sealed credentials
class ExchangeControl final : public ControlHandler {
 public:
  explicit ExchangeControl(Exchange& exchange) : exchange_(exchange) {}

 private:
  Task<ControlAnswer> answer(const ControlRequest& request) override;
  Task<ControlAnswer> add_mailboxes(const ControlRequest& request);
  Task<ControlAnswer> deliver(const ControlRequest& request);
  Task<ControlAnswer> deliver_list(proto::JsonArray mails);
  Task<ControlAnswer> add_fault(const ControlRequest& request);
  Task<ControlAnswer> add_activesync_fault(const ControlRequest& request);
  Task<ControlAnswer> requests(const ControlRequest& request);
  Task<ControlAnswer> devices(const ControlRequest& request);
  Task<ControlAnswer> add_callback_fault(const ControlRequest& request);
  Task<ControlAnswer> ledger(const ControlRequest& request);
  Task<ControlAnswer> set_autodiscover(const ControlRequest& request);
  Task<ControlAnswer> books(const ControlRequest& request);
  Task<ControlAnswer> subscriptions(const ControlRequest& request);

  Exchange& exchange_;
};

}  // namespace bellhop::standin
