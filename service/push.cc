// SPDX-License-Identifier: Apache-2.0
#include "service/push.h"

#include <algorithm>

#include "core/base/check.h"
#include "proto/apns.h"

namespace bellhop::service {
namespace {

// Between subject and preview text: the payload's writer makes one line of them.
constexpr std::string_view kPreviewSeparator = " \u2014 ";

std::string_view sender_of(const MailItem& mail) {
  return mail.sender_name.empty() ? std::string_view(mail.sender_address) : mail.sender_name;
}

std::string mail_payload(const MailItem& mail, PreviewPolicy preview, proto::ApnsAlertOptions options) {
  // What an item is, is a part of what it says: below `subject` everything is new mail.
  proto::ItemKind kind = preview >= PreviewPolicy::subject ? mail.kind : proto::ItemKind::mail;
  const proto::ApnsMember members[] = {{"kind", proto::item_kind_name(kind)}};
  if (kind != proto::ItemKind::mail) options.members = members;
  proto::ApnsLocalText text = proto::apns_item_text(kind);
  std::string body;
  if (preview >= PreviewPolicy::subject) body = mail.subject;
  if (preview >= PreviewPolicy::full && !mail.preview.empty()) {
    // In one piece, so that growth leaves no copy of mail text behind.
    std::string longer;
    longer.reserve(body.size() + kPreviewSeparator.size() + mail.preview.size());
    longer.append(body).append(body.empty() ? std::string_view() : kPreviewSeparator).append(mail.preview);
    wipe(body);
    body = std::move(longer);
  }
  std::optional<std::string> payload = proto::write_apns_mail(sender_of(mail), body, options, text);
  wipe(body);
  BH_CHECK(payload);  // what is never cut is a few short members of ours
  return *std::move(payload);
}

}  // namespace

PreviewPolicy preview_for(store::Preview device, PreviewPolicy tenant_max) {
  auto wish = PreviewPolicy::none;
  switch (device) {
    case store::Preview::none:
      wish = PreviewPolicy::none;
      break;
    case store::Preview::sender:
      wish = PreviewPolicy::sender;
      break;
    case store::Preview::subject:
      wish = PreviewPolicy::subject;
      break;
    case store::Preview::full:
      wish = PreviewPolicy::full;
      break;
  }
  return std::min(wish, tenant_max);
}

std::optional<DeviceOutcome> device_refusal(const store::DeviceRecord& device) {
  if (device.state == store::DeviceState::blocked) return DeviceOutcome::skipped_policy;
  if (device.token_gone) return DeviceOutcome::dropped_token_gone;
  // No channel of this server leads there; the device API takes none of them.
  if (device.platform != store::Platform::apns) return DeviceOutcome::skipped_policy;
  return std::nullopt;
}

ShapedPush shape_push(const PushContent& content, PreviewPolicy preview, bool badge) {
  proto::ApnsAlertOptions options;
  // A count of 0 beside new mail would be an older one, or none that we know.
  if (badge && content.unread.value_or(0) > 0) options.badge = content.unread;
  ShapedPush push;
  if (content.more_mail) {
    std::optional<std::string> payload = proto::write_apns_more_mail(*content.more_mail, options);
    BH_CHECK(payload);
    push.payload = *std::move(payload);
    return push;
  }
  bool shows = content.mail && !content.mail->private_ && preview != PreviewPolicy::none;
  if (!shows) {
    std::optional<std::string> payload = proto::write_apns_new_mail(options);
    BH_CHECK(payload);
    push.payload = *std::move(payload);
    return push;
  }
  options.thread_id = content.thread_id;
  push.payload = mail_payload(*content.mail, preview, options);
  push.content_free = false;
  return push;
}

}  // namespace bellhop::service
