// SPDX-License-Identifier: Apache-2.0
#pragma once

// A server cut down to its notification path: store in memory, vault, cores with mailboxes and callback handlers, and
// the fakes of fakes.h. Runs in the simulator.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/sync.h"
#include "proto/ews_server.h"
#include "service/notification.h"
#include "service/registration.h"
#include "service/renewal.h"
#include "service/supervision.h"
#include "store/table_store.h"
#include "tests/notification/fakes.h"

namespace bellhop::service {

// A store in memory whose disk can be taken away, as a crash does it.
class SceneStore : public store::TableStore {
 public:
  static std::unique_ptr<SceneStore> create();
  // Forgets what is not committed, and goes on.
  size_t power_cut() { return lose_uncommitted(); }
  // Fails every write from now on.
  void take_disk();
  // The same once so many more writes were committed.
  void take_disk_after(unsigned commits);
  // Goes on with what was committed before.
  void bring_disk();
  // Rows of the journal that are on the disk.
  uint64_t journal_rows();

 private:
  struct Disk;
  explicit SceneStore(std::unique_ptr<Disk> disk);
  Disk* disk_;
};

// A request as a connection would give it, and what was answered.
class FakeHttpExchange : public HttpExchange {
 public:
  FakeHttpExchange(std::string target, std::string body) : target_(std::move(target)), body_(std::move(body)) {}
  virtual ~FakeHttpExchange() = default;

  proto::HttpMethod request_method = proto::HttpMethod::post;
  std::optional<Error> body_error;  // after the first half of the body
  Event* body_gate = nullptr;       // the body comes when it is set
  size_t piece_bytes = 1460;
  std::string client = "198.51.100.7";  // address that the request comes from
  bool body_read = false;
  int answers = 0;
  uint16_t status = 0;
  std::string content_type, body, retry_after;
  bool closed = false;

  proto::HttpMethod method() const override { return request_method; }
  std::string_view target() const override { return target_; }
  const proto::HeaderBlock& headers() const override { return headers_; }
  Task<Status> read_body(uint64_t bytes_max, BodySink& sink) override;
  Task<Status> respond(const HttpResponse& response) override;
  bool responded() const override { return answers > 0; }
  Task<Result<SocketAddress>> peer_address() override;

 private:
  std::string target_, body_;
  proto::HeaderBlock headers_;
};

struct DeviceOptions {
  store::Preview preview = store::Preview::full;
  bool badge = true;
  bool proven = true;
  store::DeviceState state = store::DeviceState::active;
  store::PushEnvironment environment = store::PushEnvironment::production;
};

// A mailbox with its subscription, as registration leaves it.
struct Subscriber {
  store::StoredUserId user;
  store::MailboxNumber mailbox = 0;
  store::KeyId key;
  crypto::Capability capability;
  store::CapabilityHash capability_hash;
  std::vector<uint8_t> creds;
  std::string exchange_id;
  std::vector<store::DeviceKey> devices;
  std::vector<std::string> tokens;  // push tokens, by device
  std::string last_watermark;       // of the last message that mail() and others made

  std::string target() const { return target_with(capability.text(), to_base64url(creds)); }
  static std::string target_with(std::string_view id, std::string_view creds_text);
};

struct SceneOptions {
  unsigned cores = 1;
  bool renewal = false;  // the server renews subscriptions itself
  std::function<void(Config&)> configure = {};
};

class Scene {
 public:
  // One core with all that it owns.
  struct Parts {
    Parts(Scene& scene, unsigned index);
    ~Parts();
    std::unique_ptr<MetricsShard> metrics = std::make_unique<MetricsShard>();
    Ledger ledger{*metrics};
    Log log;
    Decrypter decrypter;
    EwsClient ews;
    TokenClient tokens;
    ApnsSender apns;
    Core core;
    std::unique_ptr<Mailboxes> mailboxes;
    std::unique_ptr<Supervision> supervision;  // of which run() is the test's to start
    std::unique_ptr<Registrar> registrar;
    std::unique_ptr<Renewal> renewal;  // where SceneOptions::renewal asks for it
    NotificationHandler handler;
    TaskScope background{nullptr};  // the journal's
  };

  static constexpr std::string_view kPassword = "correct horse";

  static constexpr std::string_view kTokenEndpoint = "https://login.example.com/token";

  // Makes user, devices and subscription `name`. `password`: what the envelope holds.
  Task<Subscriber> subscribe(std::string name, std::vector<DeviceOptions> devices = {DeviceOptions()},
                             bool pending = false, std::string password = std::string(kPassword));
  // The same with a split envelope, which holds a refresh token of fake_tokens().
  Task<Subscriber> subscribe_oauth(std::string name);
  // A password in a split envelope.
  Task<Subscriber> subscribe_split(std::string name);
  // The record that the subscriber's two halves give.
  Task<crypto::CredentialRecord> stored_record(const Subscriber& subscriber);
  // Lets a callback come in on a core.
  Task<void> deliver(FakeHttpExchange& exchange, unsigned core = 0);
  struct Reply {
    uint16_t status = 0;
    std::string body;
    bool closed = false;
  };
  Task<Reply> post(std::string target, std::string body, unsigned core = 0);
  // A callback of the subscriber whose body follows on the last one: new mails by their ids.
  Task<Reply> mail(Subscriber& subscriber, std::vector<std::string> ids, unsigned core = 0);
  Task<Reply> heartbeat(Subscriber& subscriber);
  Task<Reply> unread(Subscriber& subscriber, int32_t count);

  std::string mail_body(Subscriber& subscriber, const std::vector<std::string>& ids, std::string previous = "");
  std::string heartbeat_body(Subscriber& subscriber);
  std::string unread_body(Subscriber& subscriber, int32_t count);
  std::string next_watermark() { return "watermark " + std::to_string(++watermarks_); }

  // The subscription that Exchange made last, as it calls it: of `subscriber`'s user, with its own URL and id.
  Task<Subscriber> successor_of(const Subscriber& subscriber);
  // A pair for the pool; made at the scene's present time.
  Task<void> add_pool_key();
  Task<store::RouteKind> route_kind(const Subscriber& subscriber);
  Task<store::UserRecord> stored_user(const Subscriber& subscriber);

  // Ends all in good order, and begins anew on the same store.
  Task<void> restart();
  // The process dies at this moment: what is not on the disk is lost. The test then stops the flows that it began, and
  // start_again() gives them up and begins anew on the same store.
  void die();
  Task<void> start_again();
  Task<store::HotRecord> stored_hot(const Subscriber& subscriber);
  Task<store::SubscriptionRecord> stored_subscription(const Subscriber& subscriber);
  Task<store::DeviceRecord> stored_device(const Subscriber& subscriber, size_t device = 0);

  uint64_t outcomes(DeviceOutcome outcome) const;
  uint64_t outcomes(CallbackOutcome outcome) const;
  LedgerSnapshot ledger() const;
  uint64_t decryptions() const;  // asked for, on all cores

  bool renewal = false;
  Config config;
  Tenants tenants;
  std::unique_ptr<SceneStore> store = SceneStore::create();
  std::string keyring_text;  // its lines
  std::optional<crypto::Keyring> keyring;
  std::optional<Vault> vault;
  std::unique_ptr<ApnsProviderTokens> apns_tokens;
  std::unique_ptr<Node> node;
  std::vector<std::unique_ptr<Parts>> parts;
  std::string log_lines;

 private:
  friend struct SceneRun;
  Task<void> begin();
  Task<bool> open_core(unsigned core);
  Task<bool> close_core(unsigned core);
  Task<bool> begin_journal(unsigned core);
  Task<void> open_all();
  Task<void> close_all();
  void seal(const crypto::RsaPrivateKey& key, const crypto::CredentialRecord& record, bool split,
            Subscriber& subscriber, store::SubscriptionRecord& subscription);
  Task<Subscriber> subscribe_with(std::string name, std::vector<DeviceOptions> devices, bool pending,
                                  decltype(crypto::CredentialRecord::logon) logon, bool split);
  std::string body_of(Subscriber& subscriber, std::vector<proto::NotificationEvent> events, std::string previous);
  int watermarks_ = 0;
  uint8_t keys_used_ = 0;
};

using SceneFlow = Task<void> (*)(Scene& scene);
// Runs the flow on core 0 of a scene; afterwards every ledger balances and no event is in flight.
void run_scene(SceneFlow flow, SceneOptions options = {});

// Ids "m1", "m2" … of mails that Exchange has.
void have_mail(const std::string& id, FakeMail mail);
void have_mail(const std::string& id);

}  // namespace bellhop::service

// In a flow, where ASSERT_TRUE cannot return.
#define CO_ASSERT(condition)                       \
  if (!(condition)) {                              \
    ADD_FAILURE() << "does not hold: " #condition; \
    co_return;                                     \
  }

// A test whose body is a flow with `scene`.
#define SCENE_TEST_WITH(suite, name, ...)            \
  static Task<void> suite##name##Flow(Scene& scene); \
  TEST(suite, name) {                                \
    run_scene(suite##name##Flow, __VA_ARGS__);       \
  }                                                  \
  static Task<void> suite##name##Flow([[maybe_unused]] Scene& scene)
#define SCENE_TEST(suite, name) SCENE_TEST_WITH(suite, name, SceneOptions())
