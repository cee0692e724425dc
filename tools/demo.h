// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "tools/standin/device.h"

namespace bellhop::tools {

struct DemoOptions {
  uint64_t count = 0;
  standin::DeviceAuth auth = standin::DeviceAuth::basic;
  bool http2 = false;  // devices and callbacks come over HTTP/2
};

// `bellhopd --demo[=N] [--http=1.1|2] [--auth=...]`: the server, and stand-ins for Exchange and APNs, in one process on loopback. Registers three
// mailboxes through the device API, lets mail arrive, and prints each notification with the time of its stages.
// `count` 0: a mail about once a second until Ctrl-C. Else: each as soon as the one before is acknowledged, and the exit
// code is 0 only if all arrived at the APNs stand-in exactly once. With OAuth, a token endpoint is there too, whose
// access tokens live for seconds, and the exit code tells of spent refresh tokens that were presented again.
int run_demo(const DemoOptions& options);

}  // namespace bellhop::tools
