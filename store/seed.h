// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "store/store.h"
#include "store/tables.h"

namespace bellhop::store {

// One mailbox for scale tests: a user with a key, one device, one active subscription.
struct SeededMailbox {
  StoredUserId user;
  KeyRecord key;  // its id must be new; the key material may be that of other mailboxes
  DeviceKey device;
  DeviceRecord device_record;
  CapabilityHash capability;
  SubscriptionRecord subscription;
  HotRecord hot;
};

// Most mailboxes that go into one transaction.
inline constexpr uint64_t kSeedBatch = 10'000;  // about 40 MB while it is made

// Writes `mailboxes` mailboxes; `make(index, mailbox)` fills each in, sealed fields included (the caller has a small
// pool of key pairs and seals them anew per mailbox, so that every record can be opened). Big transactions, blocking;
// the store must not be served meanwhile. After an error the transactions before it are kept. Errors: as of the
// operations.
Status seed(Engine& engine, uint64_t mailboxes, std::string_view tenant, WallTime now,
            FunctionRef<void(uint64_t index, SeededMailbox& mailbox)> make);

}  // namespace bellhop::store
