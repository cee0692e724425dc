// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace bellhop::service {

// When a whole EWS host counts as silent; from [supervision].
struct HostOutageRules {
  uint32_t share_percent = 50;    // of its mailboxes are late
  uint32_t mailboxes_min = 20;    // that are late
  uint32_t probe_interval_s = 60; // one device is asked in so long, while it lasts
};

struct HostOutage {
  std::string_view origin;  // lives as long as HostOutages
  uint32_t mailboxes = 0;   // that spoke through this host
  uint32_t late = 0;        // of these
  uint32_t since_s = 0;     // its last callback
};

struct HostRecovery {
  std::string_view origin;
  uint32_t silent_s = 0;
};

// The EWS hosts through which mailboxes speak to us, and which of them have fallen silent as a whole: then nobody's
// subscription is lost for good yet, and asking each device to subscribe again would be a storm in vain.
//
// Mailboxes are counted in epochs of a host: an epoch ends when a silent host speaks again, and a mailbox belongs to the new
// one once it was heard in it. So those that stay silent when their host is back are no second outage; they are lost.
//
// One per process, used by all cores: counts are one atomic word per host, and whoever changes it so that an outage begins or
// ends is told, so that it is told once. Times are whole seconds of the monotonic clock.
class HostOutages {
 public:
  static constexpr size_t kHostsMax = 4'096;
  // What finds no place among kHostsMax hosts. It has no outages; its mailboxes are supervised one by one.
  static constexpr uint16_t kNoHost = 0;

  HostOutages();
  ~HostOutages();
  HostOutages(const HostOutages&) = delete;
  HostOutages& operator=(const HostOutages&) = delete;

  // The number of a host by its EWS origin ("https://mail.example.com"). A new one counts as heard now.
  uint16_t id_of(std::string_view origin, uint32_t now_s);
  std::string_view origin(uint16_t id) const;

  // One more mailbox is counted in the host's epoch, which is returned.
  uint8_t join(uint16_t id);
  // A mailbox that was counted in `epoch` is not any more; nothing where that epoch has ended.
  void leave(uint16_t id, uint8_t epoch, bool late);
  bool current(uint16_t id, uint8_t epoch) const;
  // True where it was counted: it belongs to the host's epoch.
  bool mark_late(uint16_t id, uint8_t epoch);
  void unmark_late(uint16_t id, uint8_t epoch);

  // A callback came through the host. A value where that ended an outage.
  std::optional<HostRecovery> contact(uint16_t id, uint32_t now_s);
  // Looks whether the host is silent as a whole by now. A value where an outage began. `frequency_s`: how often one of its
  // mailboxes speaks.
  std::optional<HostOutage> judge(uint16_t id, uint32_t now_s, uint32_t frequency_s, const HostOutageRules& rules);
  bool silent(uint16_t id) const;
  // When its last outage ended; 0 where there was none.
  uint32_t spoke_again_s(uint16_t id) const;
  // True for one caller in an interval, while the host is silent: a host that has restarted knows our subscriptions no
  // more and would be silent for ever, so that now and then a device is asked all the same.
  bool take_probe(uint16_t id, uint32_t now_s, uint32_t interval_s);

  std::vector<HostOutage> silent_hosts() const;

 private:
  struct Host;
  struct Tally;
  template <class F>
  static Tally change(Host& host, F&& f);

  mutable std::mutex lock_;  // guards ids_ and the making of hosts
  std::unordered_map<std::string_view, uint16_t> ids_;
  std::vector<std::unique_ptr<Host>> hosts_;  // by id; never moved. Who has an id may use its host without the lock
};

}  // namespace bellhop::service
