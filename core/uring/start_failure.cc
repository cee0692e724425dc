// SPDX-License-Identifier: Apache-2.0
#include <sys/utsname.h>

#include <cerrno>

#include "core/io.h"

namespace bellhop::io {
namespace {

std::string kernel_release() {
  utsname names;
  return uname(&names) == 0 ? names.release : "unknown";
}

std::string sysctl_value() {
  auto text = read_file("/proc/sys/kernel/io_uring_disabled");
  if (!text) return "absent";
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return *text;
}

const char* step_text(uint32_t step) {
  switch (step) {
    case 1: return "io_uring_setup";
    case 2: return "the receive buffers of io_uring";
    case 3: return "the file table of io_uring";
    default: return "io_uring";
  }
}

}  // namespace

std::string explain_start_failure(const Error& error) {
  std::string text = std::string(step_text(error.detail)) + " was refused: " + error_text({Domain::os, 0, error.code, 0}) +
                     " (kernel " + kernel_release() + ", kernel.io_uring_disabled = " + sysctl_value() + ").\n";
  text += "Likely causes, and what to do:\n";
  if (error.code == EPERM || error.code == ENOSYS || error.code == EACCES) {
    text +=
        "  1. The administrator switched io_uring off. Allow it:      sysctl -w kernel.io_uring_disabled=0\n"
        "  2. A container's seccomp profile blocks it. Allow io_uring_setup, io_uring_enter and io_uring_register in\n"
        "     the profile, then:                                      docker run --security-opt seccomp=PROFILE.json …\n"
        "     Kubernetes: securityContext.seccompProfile.type: Localhost with that profile.\n"
        "  3. The kernel was built without it. Look for CONFIG_IO_URING=y: zgrep IO_URING /proc/config.gz\n";
  } else if (error.code == EINVAL) {
    text +=
        "  The kernel is older than 6.1, the oldest that bellhop supports. See yours:  uname -r\n"
        "  On Debian 12 the standard kernel is new enough:                             apt install linux-image-amd64\n";
  } else if (error.code == ENOMEM) {
    text +=
        "  The limit of locked memory, or of memory, is too low. See it:   ulimit -l\n"
        "  Raise it for the service (systemd):                             LimitMEMLOCK=infinity\n";
  } else if (error.code == EMFILE || error.code == ENFILE) {
    text +=
        "  The limit of open files is below [listen.public] connections_max. See it:  ulimit -n\n"
        "  Raise it for the service (systemd):                                        LimitNOFILE=262144\n"
        "  or lower connections_max in the configuration.\n";
  } else {
    text += "  None that is known for this error; please report it with the line above.\n";
  }
  return text;
}

}  // namespace bellhop::io
