// SPDX-License-Identifier: Apache-2.0
// The shape of one push; what each policy shows is tested with whole notifications.
#include "service/push.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/apns.h"

namespace bellhop::service {
namespace {

using testing::HasSubstr;
using testing::Not;

MailItem mail() {
  MailItem item;
  item.subject = "Lunch";
  item.sender_name = "Berta";
  item.sender_address = "berta@example.com";
  item.preview = "At noon?";
  return item;
}

TEST(ShapePush, TheDevicesWishIsCutToTheTenantsMaximum) {
  const store::Preview wishes[] = {store::Preview::none, store::Preview::sender, store::Preview::subject,
                                   store::Preview::full};
  for (int wish = 0; wish < 4; ++wish) {
    for (int most = 0; most < 4; ++most) {
      EXPECT_EQ(preview_for(wishes[wish], static_cast<PreviewPolicy>(most)),
                static_cast<PreviewPolicy>(std::min(wish, most)));
    }
  }
}

TEST(ShapePush, DevicesThatGetNoPushesSayWhy) {
  store::DeviceRecord device;
  EXPECT_EQ(device_refusal(device), std::nullopt);
  device.token_gone = true;
  EXPECT_EQ(device_refusal(device), DeviceOutcome::dropped_token_gone);
  device.state = store::DeviceState::blocked;
  EXPECT_EQ(device_refusal(device), DeviceOutcome::skipped_policy);
  device = {.platform = store::Platform::fcm};
  EXPECT_EQ(device_refusal(device), DeviceOutcome::skipped_policy);
}

TEST(ShapePush, TitleIsTheSenderAndBodyTheSubject) {
  MailItem item = mail();
  ShapedPush push = shape_push({.mail = &item}, PreviewPolicy::subject, false);
  EXPECT_FALSE(push.content_free);
  EXPECT_THAT(push.payload, HasSubstr("\"title\":\"Berta\""));
  EXPECT_THAT(push.payload, HasSubstr("\"body\":\"Lunch\""));
  EXPECT_THAT(push.payload, Not(HasSubstr("berta@")));
  EXPECT_THAT(push.payload, Not(HasSubstr("badge")));
}

TEST(ShapePush, TheAddressStandsForAMissingName) {
  MailItem item = mail();
  item.sender_name.clear();
  EXPECT_THAT(shape_push({.mail = &item}, PreviewPolicy::sender, false).payload,
              HasSubstr("\"title\":\"berta@example.com\""));
}

TEST(ShapePush, ThePreviewFollowsTheSubjectAndStandsAloneWithoutOne) {
  MailItem item = mail();
  EXPECT_THAT(shape_push({.mail = &item}, PreviewPolicy::full, false).payload,
              HasSubstr("\"body\":\"Lunch \u2014 At noon?\""));
  item.subject.clear();
  EXPECT_THAT(shape_push({.mail = &item}, PreviewPolicy::full, false).payload, HasSubstr("\"body\":\"At noon?\""));
}

TEST(ShapePush, ABadgeIsShownWhereItIsWantedAndKnown) {
  MailItem item = mail();
  EXPECT_THAT(shape_push({.mail = &item, .unread = 5}, PreviewPolicy::full, true).payload, HasSubstr("\"badge\":5"));
  EXPECT_THAT(shape_push({.mail = &item, .unread = 5}, PreviewPolicy::full, false).payload, Not(HasSubstr("badge")));
  EXPECT_THAT(shape_push({.mail = &item, .unread = 0}, PreviewPolicy::full, true).payload, Not(HasSubstr("badge")));
  EXPECT_THAT(shape_push({.more_mail = 3, .unread = 5}, PreviewPolicy::none, true).payload, HasSubstr("\"badge\":5"));
}

TEST(ShapePush, ContentFreeNamesNoConversation) {
  MailItem item = mail();
  ShapedPush push = shape_push({.mail = &item, .thread_id = "thread"}, PreviewPolicy::none, false);
  EXPECT_TRUE(push.content_free);
  EXPECT_THAT(push.payload, Not(HasSubstr("thread")));
  EXPECT_TRUE(shape_push({}, PreviewPolicy::full, false).content_free);
  EXPECT_TRUE(shape_push({.more_mail = 30}, PreviewPolicy::full, false).content_free);
}

TEST(ShapePush, FitsIntoWhatApnsTakesWhateverTheMailHolds) {
  MailItem item = mail();
  for (std::string_view character : {"x", "\"", "\xc3\xa4", "\xf0\x9f\x93\xa7", "\x01", "\xff"}) {
    for (size_t size : {1u, 300u, 5'000u, 100'000u}) {
      item.subject.clear();
      while (item.subject.size() < size) item.subject += character;
      item.sender_name = item.preview = item.subject;
      ShapedPush push = shape_push({.mail = &item, .thread_id = std::string(32, 'a'), .unread = 4'000'000'000u},
                                   PreviewPolicy::full, true);
      EXPECT_LE(push.payload.size(), proto::kApnsPayloadBytesMax);
      EXPECT_TRUE(utf8_valid(push.payload));
    }
  }
}

}  // namespace
}  // namespace bellhop::service
