// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/wbxml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/check.h"
#include "tools/standin/activesync.h"
#include "tools/standin/activesync_query.h"
#include "tools/standin/activesync_tags.h"

namespace bellhop::standin {
namespace {

std::string bytes(std::string_view hex) {
  auto raw = from_hex(hex);
  BH_CHECK(raw);
  return std::string(as_text(*raw));
}

std::optional<WbxmlElement> read(std::string_view document) {
  std::string complaint;
  auto root = read_wbxml(as_bytes(document), complaint);
  EXPECT_EQ(root.has_value(), complaint.empty()) << complaint;
  return root;
}

TEST(Wbxml, WritesWhatTheSpecificationShows) {
  // MS-ASWBXML 4: a FolderSync with the key 0.
  WbxmlElement root{.tag = folder_hierarchy::kFolderSync};
  root.add(folder_hierarchy::kSyncKey, "0");
  EXPECT_EQ(write_wbxml(root), bytes("03016a000007565203300001"
                                     "01"));
}

TEST(Wbxml, ReadsBackWhatItWrote) {
  WbxmlElement root{.tag = airsync::kSync};
  WbxmlElement& collection = root.add(airsync::kCollections).add(airsync::kCollection);
  collection.add(airsync::kSyncKey, "7");
  collection.add(airsync::kGetChanges);
  collection.add(email::kSubject, "Grüße");
  WbxmlElement& data = collection.add(compose_mail::kMime, std::string(300, '\0') + "x");
  data.opaque = true;
  auto again = read(write_wbxml(root));
  ASSERT_TRUE(again);
  EXPECT_EQ(write_wbxml(*again), write_wbxml(root));
  const WbxmlElement* found = again->find(airsync::kCollections)->find(airsync::kCollection);
  EXPECT_EQ(found->number_of(airsync::kSyncKey), 7u);
  EXPECT_NE(found->find(airsync::kGetChanges), nullptr);
  EXPECT_EQ(found->text_of(email::kSubject), "Grüße");
  EXPECT_EQ(found->text_of(compose_mail::kMime).size(), 301u);
  EXPECT_EQ(found->find(airsync::kWait), nullptr);
}

TEST(Wbxml, RefusesWhatIsNoDocument) {
  const std::string good = bytes("03016a00000756520330000101");
  ASSERT_TRUE(read(good));
  for (size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(read(std::string_view(good).substr(0, size))) << size;
  EXPECT_FALSE(read(good + '\x01')) << "bytes after the end";
  EXPECT_FALSE(
      read(bytes("02016a000007565203300001"
                 "01")))
      << "version";
  EXPECT_FALSE(
      read(bytes("03016a01000007565203300001"
                 "01")))
      << "string table";
  EXPECT_FALSE(read(bytes("03016a00c50501"))) << "attributes";
  EXPECT_FALSE(
      read(bytes("03016a000330000145"
                 "01")))
      << "text before the root";
  EXPECT_FALSE(read(bytes("03016a0045c3ffffffff7f01"))) << "a length without end";
  EXPECT_FALSE(read(bytes("03016a0045c30501"))) << "data longer than the document";
}

TEST(Wbxml, HasLimits) {
  std::string deep = bytes("03016a00") + std::string(kWbxmlDepthMax, '\x45') + std::string(kWbxmlDepthMax, '\x01');
  EXPECT_TRUE(read(deep));
  EXPECT_FALSE(
      read(bytes("03016a00") + std::string(kWbxmlDepthMax + 1, '\x45') + std::string(kWbxmlDepthMax + 1, '\x01')));
  EXPECT_TRUE(read(bytes("03016a0045") + std::string(kWbxmlElementsMax - 1, '\x05') + '\x01'));
  EXPECT_FALSE(read(bytes("03016a0045") + std::string(kWbxmlElementsMax, '\x05') + '\x01'));
}

TEST(Wbxml, SurvivesEveryChangedByte) {
  std::string document = write_wbxml(activesync_status("Provision", 1));
  size_t read_well = 0;
  for (size_t at = 0; at < document.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = document;
      changed[at] = static_cast<char>(value);
      std::string complaint;
      if (auto root = read_wbxml(as_bytes(changed), complaint)) {
        ++read_well;
        EXPECT_TRUE(read_wbxml(as_bytes(write_wbxml(*root)), complaint)) << at << ' ' << value;
      }
    }
  }
  EXPECT_GT(read_well, document.size());
}

TEST(ActiveSyncRequestQuery, ReadsBothForms) {
  auto plain = read_activesync_query("User=EXAMPLE%5Calice&DeviceId=v140Device&DeviceType=SmartPhone&Cmd=Sync");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->command, "Sync");
  EXPECT_EQ(plain->user, "EXAMPLE\\alice");
  EXPECT_EQ(plain->device_id, "v140Device");
  EXPECT_FALSE(plain->base64);
  auto base64 = read_activesync_query("jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l");
  ASSERT_TRUE(base64);
  EXPECT_TRUE(base64->base64);
  EXPECT_EQ(base64->command, "Sync");
  EXPECT_EQ(base64->protocol_version, "14.0");
  EXPECT_EQ(base64->device_id, "v140Device");
  EXPECT_EQ(base64->device_type, "SmartPhone");
  EXPECT_FALSE(base64->policy_key);
  auto padded = read_activesync_query("jQAJBBBOaW5lNDM4M0FGMzQ2ODYwBAAAAAAHQW5kcm9pZAcBAA==");
  ASSERT_TRUE(padded);
  EXPECT_EQ(padded->device_id, "Nine4383AF346860");
  EXPECT_EQ(padded->device_type, "Android");
  EXPECT_EQ(padded->policy_key, 0u);
}

TEST(ActiveSyncRequestQuery, ShowsWhatServersReadDifferently) {
  auto query = read_activesync_query("Cmd=Ping&cmd=Sync&DeviceId=A&DEVICEID=B&DeviceType=x");
  ASSERT_TRUE(query);
  EXPECT_EQ(query->command, "Ping,Sync");
  EXPECT_EQ(query->device_id, "A,B");
  EXPECT_FALSE(read_activesync_query("AAAA"));
  EXPECT_FALSE(read_activesync_query("Cmd=%zz"));
  EXPECT_EQ(read_activesync_query("")->command, "");
}

TEST(ActiveSyncProvisioning, AKeyCountsOnceItIsAcknowledged) {
  ActiveSyncDevice device;
  EXPECT_EQ(provisioning_status(device, "Sync", 0, true), kDeviceNotProvisioned);
  EXPECT_EQ(provisioning_status(device, "Sync", 0, false), 0u);
  WbxmlElement request{.tag = provision::kProvision};
  WbxmlElement& policy = request.add(provision::kPolicies).add(provision::kPolicy);
  policy.add(provision::kPolicyType, "MS-EAS-Provisioning-WBXML");
  answer_provision(device, request, 11);
  EXPECT_EQ(provisioning_status(device, "Sync", 11, true), kDeviceNotProvisioned);
  policy.add(provision::kPolicyKey, "12");
  answer_provision(device, request, 13);
  EXPECT_EQ(device.policy_key, 0u) << "another key was acknowledged";
  policy.children.back().text = "11";
  answer_provision(device, request, 14);
  EXPECT_EQ(provisioning_status(device, "Sync", 14, true), 0u);
  EXPECT_EQ(provisioning_status(device, "Sync", 11, true), kDeviceNotProvisioned);
  device.wipe = RemoteWipe::asked;
  EXPECT_EQ(provisioning_status(device, "Sync", 14, true), kRemoteWipeRequested);
  EXPECT_EQ(provisioning_status(device, "Provision", 14, true), 0u);
}

}  // namespace
}  // namespace bellhop::standin
