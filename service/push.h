// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "service/config.h"
#include "service/ews_client.h"
#include "service/outcome.h"
#include "store/records.h"

namespace bellhop::service {

// How much of a mail a device may see: its own wish, cut to the tenant's maximum.
PreviewPolicy preview_for(store::Preview device, PreviewPolicy tenant_max);

// How every event ends for a device that gets no pushes; nothing where it gets them.
std::optional<DeviceOutcome> device_refusal(const store::DeviceRecord& device);

// What one push says: a mail (content-free where `mail` is null), or that there are `count` mails.
struct PushContent {
  const MailItem* mail = nullptr;
  std::optional<uint32_t> more_mail;  // instead: one push for at least so many mails
  std::string_view thread_id;         // of the mail's conversation; empty: none
  std::optional<uint32_t> unread;     // becomes the badge of devices that want one
};

// JSON for APNs. Mail text: wiped when it dies.
struct ShapedPush {
  std::string payload;
  bool content_free = true;
  ShapedPush() = default;
  ShapedPush(ShapedPush&&) = default;
  ShapedPush& operator=(ShapedPush&&) = default;
  ~ShapedPush() { wipe(payload); }
};

// Shapes a push for one device: none shows that there is mail, sender the title, subject title and body, full adds the
// preview text. A private mail (Sensitivity) shows as content-free.
ShapedPush shape_push(const PushContent& content, PreviewPolicy preview, bool badge);

}  // namespace bellhop::service
