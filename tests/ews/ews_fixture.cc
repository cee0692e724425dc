// SPDX-License-Identifier: Apache-2.0
#include "tests/ews/ews_fixture.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/tls/error.h"
#include "proto/error_texts.h"
#include "proto/ews_server.h"
#include "proto/http1.h"
#include "service/error_texts.h"
#include "service/http1_connection.h"

namespace bellhop::service::ews_test {
namespace {

using proto::EwsAnswer;
using proto::EwsAnswerKind;
using proto::EwsResponseMessage;
using proto::Http1Event;
using proto::Http1Step;

struct Environment : ::testing::Environment {
  void SetUp() override {
    set_tls_clock(io::wall_now);
    register_tls_error_texts();
    register_error_texts();
    proto::register_error_texts();
  }
};
[[maybe_unused]] const auto* const environment = ::testing::AddGlobalTestEnvironment(new Environment);

CertificateValidity valid_now() { return {io::wall_now() - std::chrono::hours(24), io::wall_now() + std::chrono::hours(24)}; }

std::string copy(const proto::HeaderBlock& headers, std::string_view name) {
  return std::string(headers.find(name).value_or(std::string_view()));
}

Task<Status> wait_for(Event& event) { co_return co_await event.wait(); }

}  // namespace

std::string http_answer(uint16_t status, std::string_view body, std::string_view more_fields, std::string_view type) {
  return fmt::format("HTTP/1.1 {} Any\r\ncontent-type: {}\r\ncontent-length: {}\r\n{}\r\n{}", status, type, body.size(),
                     more_fields, body);
}

std::string soap_answer(const EwsAnswer& answer, uint16_t status) {
  std::string text;
  proto::write_answer(answer, text);
  return http_answer(status, text);
}

std::string subscribed(std::string_view id, std::string_view watermark) {
  std::vector<EwsResponseMessage> messages{{.code = proto::EwsResponseCode::no_error,
                                            .code_text = "NoError",
                                            .subscription_id = id,
                                            .watermark = watermark}};
  return soap_answer({.kind = EwsAnswerKind::subscribe, .messages = messages});
}

std::string refused(EwsAnswerKind kind, std::string_view code, std::optional<uint32_t> back_off_ms) {
  std::vector<EwsResponseMessage> messages{{.response_class = proto::ResponseClass::error,
                                            .code = proto::parse_response_code(code),
                                            .code_text = code,
                                            .back_off_ms = back_off_ms}};
  return soap_answer({.kind = kind, .messages = messages});
}

std::string found(size_t count, bool includes_last) {
  std::vector<std::string> ids;
  for (size_t i = 0; i < count; ++i) ids.push_back(fmt::format("item-{}", i));
  std::vector<proto::EwsItem> items;
  for (const std::string& id : ids) {
    items.push_back({.element = "Message", .id = id, .received = io::wall_now(), .item_class = "IPM.Note"});
  }
  std::vector<EwsResponseMessage> messages{{.code = proto::EwsResponseCode::no_error,
                                            .code_text = "NoError",
                                            .items = items,
                                            .total_items = static_cast<int32_t>(count),
                                            .includes_last = includes_last}};
  return soap_answer({.kind = EwsAnswerKind::find_item, .messages = messages});
}

std::string busy_fault(std::optional<uint32_t> back_off_ms) {
  EwsAnswer answer;
  answer.kind = EwsAnswerKind::fault;
  answer.fault = {.fault_code = "ErrorServerBusy",
                  .fault_text = "busy",
                  .code = proto::EwsResponseCode::server_busy,
                  .code_text = "ErrorServerBusy",
                  .back_off_ms = back_off_ms};
  return soap_answer(answer, 500);
}

std::string plain(uint16_t status, std::string_view more_fields) {
  return http_answer(status, "<html>no</html>", more_fields, "text/html");
}

// ---- Peer ----

Task<void> Peer::start(const CertificateAndKey& authority, uint16_t port) {
  std::vector<std::string> names = {"*.example.test", "*.corp.example.test"}, addresses = {"127.0.0.1", "127.0.0.2", "::1"};
  auto issued = issue_certificate(authority, names, addresses, valid_now());
  BH_CHECK(issued);
  std::string complaint;
  TlsFile clients{"ca", authority.chain_pem};
  auto authorities = TlsAuthorities::parse({&clients, 1}, complaint);
  BH_CHECK(authorities);
  auto context = TlsContext::server({.chain = {"chain", issued->chain_pem},
                                     .key = {"key", issued->key_pem},
                                     .ticket_keys = ticket_keys,
                                     .client_auth = client_auth,
                                     .client_authorities = *authorities},
                                    complaint);
  BH_CHECK(context);
  tls_ = identity ? identity : *context;
  io::Endpoint bound{.tcp = {.ip = *IpAddress::parse(address_), .port = port}, .unix_path = {}};
  Result<io::Handle> handle = io::open_listener(bound);
  BH_CHECK(handle);
  port_ = io::local_address(*handle)->port;
  listener_.emplace(*handle);
  flows_.spawn(accept_all());
  co_return;
}

Task<void> Peer::stop() {
  flows_.request_stop();
  co_await flows_.join();
  co_await listener_->close();
}

Task<void> Peer::accept_all() {
  for (;;) {
    Result<Socket> socket = co_await listener_->accept();
    if (!socket) co_return;
    flows_.spawn(serve(*std::move(socket)));
  }
}

Task<void> Peer::serve(Socket socket) {
  size_t number = ++connections;
  {
    Stream stream(std::move(socket), plain ? nullptr : std::make_unique<TlsEngine>(tls_));
    if (co_await within(10s, stream.handshake())) {
      Status status = co_await serve_requests(stream, number);
      if (status) co_await stream.close();  // else its end is sudden
    } else {
      co_await stream.close();  // the alert reaches the client
    }
  }
  ++ended;
  changed_.set();
}

Task<Status> Peer::serve_requests(Stream& stream, size_t connection) {
  proto::Http1RequestParser parser;
  Http1Reader<proto::Http1RequestParser> reader(stream, parser);
  for (;;) {
    Seen request{.connection = connection};
    Result<Http1Step> step = co_await reader.next();
    if (!step) co_return is(step.error(), CoreError::closed) ? Status() : Status(fail(step.error()));
    const proto::HeaderBlock& headers = parser.headers();
    request.method = proto::method_name(parser.method());
    request.target = parser.target();
    request.host = copy(headers, "host");
    request.authorization = copy(headers, "authorization");
    request.anchor = copy(headers, "x-anchormailbox");
    request.context = copy(headers, "x-bellhop-context");
    request.action = copy(headers, "soapaction");
    request.user_agent = copy(headers, "user-agent");
    request.request_id = copy(headers, "client-request-id");
    request.return_id = copy(headers, "return-client-request-id");
    request.encoding = copy(headers, "accept-encoding");
    request.type = copy(headers, "content-type");
    if (stream.tls()) {
      request.account = certificate_account(stream.tls()->peer_certificate());
      request.resumed = stream.tls()->resumed();
    }
    parser.set_body_max(1 << 20);
    while (step->event != Http1Event::complete) {
      step = co_await reader.next();
      if (!step) co_return fail(step.error());
      if (step->event == Http1Event::body) request.body += as_text(step->body);
    }
    parser.reset();
    BH_CO_TRY(Reply reply, co_await answer(std::move(request)));
    size_t piece = reply.slow ? 1 : reply.bytes.size();
    for (size_t at = 0; at < reply.bytes.size(); at += piece) {
      BH_CO_CHECKED(co_await stream.write(as_bytes(reply.bytes).subspan(at, piece)));
    }
    if (reply.end == Reply::End::close) co_return Status();
    if (reply.end == Reply::End::reset) co_return fail(core_error(CoreError::closed));
  }
}

Task<Result<Reply>> Peer::answer(Seen request) {
  seen.push_back(std::move(request));
  in_flight_max = std::max(in_flight_max, ++in_flight);
  changed_.set();
  Reply reply{.bytes = otherwise};
  if (respond) {
    reply.bytes = respond(seen.back());
  } else if (!script.empty()) {
    reply = std::move(script.front());
    script.pop_front();
  }
  Status held;
  if (reply.hold) held = co_await wait_for(*reply.hold);
  --in_flight;
  if (!held) co_return fail(held.error());
  co_return std::move(reply);
}

Task<void> Peer::until_seen(size_t requests) {
  while (seen.size() < requests) {
    changed_.reset();
    CO_ASSERT(co_await within(20s, wait_for(changed_)));
  }
}

Task<void> Peer::until_ended(size_t count) {
  while (ended < count) {
    changed_.reset();
    CO_ASSERT(co_await within(20s, wait_for(changed_)));
  }
}

// ---- Scene ----

Scene::Scene(Context* p) : parent(p), peer(p) {
  credentials.address = crypto::Secret::copy_of("ada@example.test");
  credentials.logon = crypto::BasicCredentials{crypto::Secret::copy_of("ada"), crypto::Secret::copy_of(kPassword)};
  LogOptions options;
  options.sink = {.write = [](void* context, std::string_view line) { *static_cast<std::string*>(context) += line; },
                  .context = &log_};
  options.wall_now = io::wall_now;
  options.level = LogLevel::debug;
  log = std::make_unique<Log>(options);
  config.connect_timeout_ms = 2'000;
}

Scene::~Scene() = default;

Task<void> Scene::start() {
  auto made = make_authority("bellhop test authority", valid_now());
  BH_CHECK(made);
  authority = *std::move(made);
  co_await peer.start(authority);
  tenant = make_tenant(0);
  make_client();
  url = fmt::format("https://127.0.0.1:{}/EWS/Exchange.asmx", peer.port());
}

Task<void> Scene::stop() {
  co_await client->close();
  EXPECT_EQ(open_connections(), 0u);
  co_await peer.stop();
}

void Scene::make_client() {
  TlsFile file{"ca", authority.chain_pem};
  std::string complaint;
  auto authorities = TlsAuthorities::parse({&file, 1}, complaint);
  BH_CHECK(authorities);
  auto tls = TlsContext::client({.authorities = *authorities, .pins = {}, .alpn = {"http/1.1"}}, complaint);
  BH_CHECK(tls);
  client = std::make_unique<EwsClient>(config, *tls, metrics, *log);
}

crypto::CredentialRecord Scene::certified(const std::string& account, bool dual, const CertificateAndKey* issuer) const {
  auto made = issue_client_certificate(issuer ? *issuer : authority, {.account = account, .validity = valid_now()});
  BH_CHECK(made);
  std::string complaint;
  auto identity = TlsOwnIdentity::read({"chain", made->chain_pem}, {"key", made->key_pem}, complaint);
  BH_CHECK(identity);
  crypto::CertificateCredentials certificate;
  certificate.opened = {.private_key = crypto::Secret::copy_of(identity->view().private_key),
                        .chain = crypto::Secret::copy_of(identity->view().chain)};
  crypto::CredentialRecord record{.address = crypto::Secret::copy_of(account)};
  if (dual) {
    record.logon = crypto::DualCredentials{
        {crypto::Secret::copy_of("ada"), crypto::Secret::copy_of(kPassword)}, std::move(certificate)};
  } else {
    record.logon = std::move(certificate);
  }
  return record;
}

std::unique_ptr<Tenant> Scene::make_tenant(uint32_t number) {
  auto made = std::make_unique<Tenant>();
  made->number = number;
  made->config.id = fmt::format("tenant-{}", number);
  made->config.ews_ports = {peer.port()};
  for (const char* host : {"127.0.0.1", "127.0.0.2", "*.example.test"}) BH_CHECK(made->ews_hosts.add(host));
  BH_CHECK(made->addresses.permit(*proto::Cidr::parse("127.0.0.0/8")));
  return made;
}

EwsTarget Scene::target(store::MailboxNumber mailbox) const {
  return {.tenant = tenant.get(), .url = url, .mailbox = mailbox, .credentials = &credentials};
}

namespace {

Task<void> run_one(Flow flow, const std::function<void(EwsConfig&)>& prepare,
                   const std::function<void(Scene&)>& arrange) {
  Scene scene(&co_await current_context());
  if (prepare) prepare(scene.config);
  if (arrange) arrange(scene);
  co_await scene.start();
  co_await flow(scene);
  co_await scene.stop();
}

}  // namespace

void run_scene(Flow flow, const std::function<void(EwsConfig&)>& prepare, const std::function<void(Scene&)>& arrange) {
  test::run_on_cores(1, [&](unsigned) { return run_one(flow, prepare, arrange); });
}

Task<void> verify_into(Scene& scene, store::MailboxNumber mailbox, Pending<std::monostate>& out) {
  out.reply.emplace(co_await scene.client->verify(scene.target(mailbox)));
}

}  // namespace bellhop::service::ews_test
