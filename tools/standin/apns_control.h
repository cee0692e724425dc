// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tools/standin/apns.h"
#include "tools/standin/control.h"

namespace bellhop::standin {

// The control API of the APNs stand-in. All bodies are JSON objects; times are in milliseconds.
//
//   POST   /rules    {"action"?,"reason"?,"deviceToken"?,"count"?,"delayMs"?,"timestampMs"?}
//   DELETE /rules
//   POST   /goaway   {"reason"?}
//   POST   /streams  {"max"}
//   POST   /kill     all connections die
//   POST   /outage   {"kind","minutes"}: kinds of ApnsOutage; minutes of the scaled clock
//   GET    /books
//   GET    /pushes?after=N&limit=M → {"pushes":[…],"last":N}
class ApnsControl final : public ControlHandler {
 public:
  explicit ApnsControl(Apns& apns) : apns_(apns) {}

 private:
  Task<ControlAnswer> answer(const ControlRequest& request) override;
  Task<ControlAnswer> add_rule(const ControlRequest& request);
  Task<ControlAnswer> books();
  Task<ControlAnswer> pushes(const ControlRequest& request);

  Apns& apns_;
};

}  // namespace bellhop::standin
