// SPDX-License-Identifier: Apache-2.0
#include "store/keks.h"

#include "store/operations.h"
#include "store/rows.h"

namespace bellhop::store {
namespace {

class Count {
 public:
  Count(ReadView& view, FunctionRef<std::optional<uint32_t>(Bytes)> kek_of, KekReport& report)
      : view_(view), kek_of_(kek_of), report_(report) {}

  Status run() {
    BH_CHECKED(each<KeyRecord>(Table::keys, [this](const KeyRecord& key) { note(key.sealed_private_key); }));
    BH_CHECKED(each<DeviceRecord>(Table::devices, [this](const DeviceRecord& device) {
      note(device.sealed_secret_hash);
      note(device.sealed_push_token);
    }));
    BH_CHECKED(each<SubscriptionRecord>(Table::subscriptions, [this](const SubscriptionRecord& subscription) {
      if (subscription.envelope != EnvelopeKind::split) return;
      note(subscription.split_ciphertext);
      ++report_.keks[subscription.kek].urls;
    }));
    return for_each(view_, Table::meta, [this](Bytes key, Bytes value) -> Result<bool> {
      if (operations::is_service_meta(as_text(key))) note(value);
      return true;
    });
  }

 private:
  template <class R, class F>
  Status each(Table table, F f) {
    R record;
    return for_each(view_, table, [&](Bytes, Bytes value) -> Result<bool> {
      if (!decode(value, record)) return fail(corrupt(table));
      f(record);
      return true;
    });
  }
  void note(Bytes box) {
    if (box.empty()) return;
    if (auto kek = kek_of_(box)) {
      ++report_.keks[*kek].records;
    } else {
      ++report_.nameless;
    }
  }

  ReadView& view_;
  FunctionRef<std::optional<uint32_t>(Bytes)> kek_of_;
  KekReport& report_;
};

}  // namespace

Result<KekReport> kek_use(Engine& engine, FunctionRef<std::optional<uint32_t>(Bytes box)> kek_of) {
  KekReport report;
  BH_CHECKED(engine.read([&](ReadView& view) { return Count(view, kek_of, report).run(); }));
  return report;
}

}  // namespace bellhop::store
