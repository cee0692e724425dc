// SPDX-License-Identifier: Apache-2.0
#include "core/base/error.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace bellhop {
namespace {

TEST(ErrorText, NamesWhatTheSystemKnows) {
  EXPECT_EQ(error_text(os_error(ENOENT)), "os: No such file or directory");
  EXPECT_EQ(error_text(os_error(ENOENT, 7)), "os: No such file or directory (detail 7)");
  EXPECT_EQ(error_text(core_error(CoreError::timed_out)), "core: deadline passed");
}

TEST(ErrorText, SurvivesNumbersThatNobodyKnows) {
  EXPECT_EQ(error_text(os_error(60000)), "os: error 60000");
  EXPECT_EQ(error_text({static_cast<Domain>(200), 0, 9, 0}), "domain 200 code 9");
}

TEST(ErrorText, AsksTheDomainsOwnTable) {
  register_error_text(static_cast<Domain>(201), "mine", [](uint16_t code, uint32_t detail) {
    return "fault " + std::to_string(code) + " at " + std::to_string(detail);
  });
  EXPECT_EQ(error_text({static_cast<Domain>(201), 0, 3, 4}), "mine: fault 3 at 4");
}

}  // namespace
}  // namespace bellhop
