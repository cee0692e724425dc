// SPDX-License-Identifier: Apache-2.0

// The ActiveSync front of the stand-in: what Exchange's /Microsoft-Server-ActiveSync does with a request.

#include <algorithm>

#include "core/sleep.h"
#include "proto/target.h"
#include "tools/standin/activesync_tags.h"
#include "tools/standin/exchange_part.h"

namespace bellhop::standin {
namespace {

constexpr size_t kDocumentBytesMax = 1 << 20;  // of WBXML that is read; longer bodies are mails

constexpr std::array<std::string_view, 8> kFaultNames = {"none",   "status",  "moved",     "found",
                                                         "common", "garbage", "truncated", "drop"};

Task<Status> wait_event(Event* event) {
  co_return co_await event->wait();
}

// Up to 12.1 some errors are those of HTTP.
bool is_old(std::string_view version) {
  return version.starts_with("2.") || version.starts_with("12.");
}

bool sends_mail(std::string_view command) {
  return command == "SendMail" || command == "SmartForward" || command == "SmartReply";
}

void write_document(const WbxmlElement& document, ActiveSyncReply& reply) {
  reply.body = write_wbxml(document);
  reply.type = kWbxmlType;
}

// Counts a request as waiting while it lives.
struct Waiting {
  explicit Waiting(uint64_t& c) : count(c) { ++count; }
  ~Waiting() { --count; }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  uint64_t& count;
};

}  // namespace

std::string_view activesync_fault_name(ActiveSyncFaultKind kind) {
  return kFaultNames[static_cast<size_t>(kind)];
}
std::optional<ActiveSyncFaultKind> parse_activesync_fault(std::string_view name) {
  auto at = std::ranges::find(kFaultNames, name);
  if (at == kFaultNames.end()) return std::nullopt;
  return static_cast<ActiveSyncFaultKind>(at - kFaultNames.begin());
}

Task<void> Exchange::Part::handle_activesync(service::HttpExchange& request, uint64_t id) {
  bool options = request.method() == proto::HttpMethod::options;
  if (!options && request.method() != proto::HttpMethod::post) {
    const proto::HeaderField allow{"allow", "OPTIONS,POST"};
    co_await respond(request, id, {.status = 405, .headers = {&allow, 1}});
    co_return;
  }
  auto query = read_activesync_query(proto::split_target(request.target()).query.value_or(std::string_view()));
  if (!query || (!options && query->command.empty())) {
    co_await respond(request, id, {.status = 400});
    co_return;
  }
  if (options) query->command = "OPTIONS";
  if (ExchangeRequest* entry = find_request(id)) {
    entry->operation = query->command;
    entry->query_user = query->user;
    entry->device_id = query->device_id;
    entry->device_type = query->device_type;
  }
  auto body = co_await read_request_body(request, id);
  if (!body) co_return;
  ActiveSyncCall call{.query = *std::move(query), .body = *std::move(body)};
  const proto::HeaderBlock& fields = request.headers();
  call.version = call.query.base64 ? call.query.protocol_version
                                   : fields.find("ms-asprotocolversion").value_or(std::string_view());
  call.policy_key = call.query.policy_key;
  if (auto key = parse_decimal(fields.find("x-ms-policykey").value_or(std::string_view())); key && !call.policy_key) {
    call.policy_key = static_cast<uint32_t>(*key);
  }
  call.user_agent = fields.find("user-agent").value_or(std::string_view());
  std::string account;
  call.logon = co_await read_logon(request, id, account);
  std::string negotiate_reply = call.logon.negotiate_reply;
  Part& home = exchange.home(account);
  request.be_patient(call.query.command == "Ping" || call.query.command == "Sync");
  ActiveSyncReply reply =
      co_await on_core_stoppable(home.core, [&home, &call] { return home.answer_activesync(&call); });
  if (ExchangeRequest* entry = find_request(id)) entry->mailbox = reply.opened;
  if (reply.delay > Duration(0) && !co_await sleep_for(reply.delay)) co_return;
  if (reply.drop) co_return;  // unanswered: the server ends the connection
  request.be_patient(false);
  AnswerHeaders headers;
  if (reply.status == 401) add_challenges(reply.challenge, headers);
  if (reply.status == 200 && !negotiate_reply.empty()) headers.add("www-authenticate", "Negotiate " + negotiate_reply);
  headers.add("ms-server-activesync", "15.1");
  for (auto& [name, value] : reply.headers) headers.add(name, std::move(value));
  add_server_fields(request, reply.opened, headers);
  co_await respond(
      request, id,
      {.status = reply.status, .content_type = reply.type, .body = reply.body, .headers = headers.fields()});
}

// On the home core of the user.
Task<ActiveSyncReply> Exchange::Part::answer_activesync(ActiveSyncCall* call) {
  ActiveSyncReply reply;
  (void)co_await running.wait();
  if (!flows) {  // about to end
    reply.status = 503;
    co_return reply;
  }
  ++counts.activesync;
  bool bearer = false;
  Mailbox* mailbox = authenticate(call->logon, bearer);
  if (mailbox) reply.opened = mailbox->address;
  const ActiveSyncFault* fault = activesync_faults.take([&](const ActiveSyncFault& one) {
    return (one.command.empty() || one.command == call->query.command) &&
           (one.mailbox.empty() || (mailbox && ascii_equal_ignoring_case(one.mailbox, mailbox->address)));
  });
  bool truncate = fault && fault->kind == ActiveSyncFaultKind::truncated;
  if (fault) {
    ++counts.faulted;
    reply.delay = fault->delay;
    if (fault->kind != ActiveSyncFaultKind::none && !truncate) {
      apply_activesync_fault(*fault, *call, reply);
      co_return reply;
    }
  }
  if (!mailbox) {
    reply.status = 401;
    reply.challenge = bearer_challenge(bearer ? "invalid_token" : "");
    co_return reply;
  }
  if (call->query.command == "OPTIONS") {
    reply.headers = {{"ms-asprotocolversions", std::string(kActiveSyncVersions)},
                     {"ms-asprotocolcommands", std::string(kActiveSyncCommands)},
                     {"public", "OPTIONS,POST"},
                     {"allow", "OPTIONS,POST"}};
    co_return reply;
  }
  ActiveSyncDevice* device = device_of(*mailbox, *call);
  if (!device) {
    ++counts.refused;
    bool named = !call->query.device_id.empty();
    if (named) write_document(activesync_status(call->query.command, kTooManyPartnerships), reply);
    if (!named) reply.status = 400;
    co_return reply;
  }
  ++device->commands;
  co_await answer_command(*mailbox, *device, *call, reply);
  if (truncate) reply.body.resize(reply.body.size() / 2);
  co_return reply;
}

// Null where the request names none, or the mailbox has too many.
ActiveSyncDevice* Exchange::Part::device_of(Mailbox& mailbox, const ActiveSyncCall& call) {
  if (call.query.device_id.empty()) return nullptr;
  std::string key = ascii_lower(call.query.device_id);
  auto at = mailbox.devices.find(key);
  if (at == mailbox.devices.end()) {
    if (mailbox.devices.size() >= shared.options.devices_per_mailbox_max) return nullptr;
    at = mailbox.devices.emplace(key, std::make_unique<ActiveSyncDevice>()).first;
    at->second->id = call.query.device_id;
    at->second->type = call.query.device_type;
  }
  if (!call.user_agent.empty()) at->second->user_agent = call.user_agent;
  return at->second.get();
}

Task<void> Exchange::Part::answer_command(Mailbox& mailbox, ActiveSyncDevice& device, ActiveSyncCall& call,
                                          ActiveSyncReply& reply) {
  const std::string& command = call.query.command;
  uint32_t provision = provisioning_status(device, command, call.policy_key, shared.options.provisioning);
  if (provision != 0) {
    ++counts.refused;
    if (is_old(call.version)) {
      reply.status = 449;
    } else {
      write_document(activesync_status(command, provision), reply);
    }
    co_return;
  }
  if (sends_mail(command)) co_return;  // an answer without a body says that it was sent
  if (command == "GetAttachment") {
    auto content = attachment_content(call.query.attachment_name);
    if (!content) reply.status = 404;
    if (content) reply.body = *std::move(content);
    reply.type = "application/octet-stream";
    co_return;
  }
  bool empty = call.body.empty();
  std::string complaint;
  std::optional<WbxmlElement> request;
  if (!empty && call.body.size() <= kDocumentBytesMax) request = read_wbxml(as_bytes(call.body), complaint);
  if (empty && command == "Ping") request = device.last_ping;
  if (empty && command == "Sync") request = device.last_sync;
  if (empty && request && request->tag == WbxmlTag()) {
    // Nothing to repeat: MS-ASCMD 2.2.3.177.11 and .17.
    write_document(activesync_status(command, command == "Ping" ? 3 : 13), reply);
    co_return;
  }
  // The root says what it is: a body of another command is none.
  if (!request || request->tag != activesync_status(command, 1).tag) {
    ++counts.refused;
    reply.status =
        request && command != "ItemOperations" && activesync_status(command, 1).tag == item_operations::kItemOperations
            ? 501
            : 400;
    co_return;
  }
  if (command == "FolderSync") write_document(answer_folder_sync(device, *request), reply);
  if (command == "Settings") write_document(answer_settings(device, *request), reply);
  if (command == "ItemOperations") write_document(answer_item_operations(*request), reply);
  if (command == "Provision") {
    write_document(answer_provision(device, *request, static_cast<uint32_t>(io::random_u64()) | 1), reply);
  }
  if (command == "Ping" || command == "Sync")
    co_await answer_waiting(mailbox, device, call, *std::move(request), reply);
}

// Ping, and Sync, which may wait like it.
Task<void> Exchange::Part::answer_waiting(Mailbox& mailbox, ActiveSyncDevice& device, const ActiveSyncCall& call,
                                          WbxmlElement request, ActiveSyncReply& reply) {
  bool is_ping = call.query.command == "Ping";
  uint32_t seconds_min = shared.options.heartbeat_seconds_min;
  bool complete = !is_ping || (request.find(ping::kHeartbeatInterval) && request.find(ping::kFolders));
  if (!complete) {
    write_document(activesync_status("Ping", 3), reply);
    co_return;
  }
  ActiveSyncWait wait = is_ping ? ping_wait(request, seconds_min) : sync_wait(request, seconds_min);
  if (wait.refused != 0 || (is_ping && device.folder_key == 0)) {
    WbxmlElement answer = activesync_status(call.query.command, wait.refused != 0 ? wait.refused : 7);
    if (wait.refused != 0) answer.add_number(is_ping ? ping::kHeartbeatInterval : airsync::kLimit, wait.seconds);
    write_document(answer, reply);
    co_return;
  }
  (is_ping ? device.last_ping : device.last_sync) = request;
  auto lasting = Duration(static_cast<int64_t>(
      static_cast<double>(Duration(std::chrono::seconds(wait.seconds)).count()) * shared.options.time_scale));
  Instant deadline = io::now() + lasting;
  auto news = [&] {
    return is_ping ? ping_sees_mail(mailbox, device, request) : sync_has_news(mailbox, device, request);
  };
  while (!news() && io::now() < deadline) {
    Waiting waiting(counts.activesync_waiting);
    if (co_await wait_for_mail(mailbox, deadline)) continue;
    reply.drop = true;  // stopped
    co_return;
  }
  bool mail = news();
  if (is_ping) {
    write_document(answer_ping(request, mail), reply);
  } else if (mail) {
    write_document(answer_sync(mailbox, device, request), reply);
  }  // else an empty answer: nothing has changed
}

// False where the flow was stopped.
Task<bool> Exchange::Part::wait_for_mail(Mailbox& mailbox, Instant deadline) {
  auto waited = co_await within_until(deadline, wait_event(&mailbox.changed));
  co_return waited || is(waited.error(), CoreError::timed_out);
}

void Exchange::Part::apply_activesync_fault(const ActiveSyncFault& fault, const ActiveSyncCall& call,
                                            ActiveSyncReply& reply) {
  switch (fault.kind) {
    case ActiveSyncFaultKind::none:
    case ActiveSyncFaultKind::truncated:
      break;
    case ActiveSyncFaultKind::status:
      reply.status = fault.status;
      if (fault.status == 401) reply.challenge = bearer_challenge("");
      if (fault.back_off > Duration(0))
        reply.headers.emplace_back("retry-after", std::to_string((to_milliseconds(fault.back_off) + 999) / 1000));
      break;
    case ActiveSyncFaultKind::moved:
      reply.status = 451;
      reply.headers.emplace_back("x-ms-location", fault.target);
      break;
    case ActiveSyncFaultKind::found:
      reply.status = 302;
      reply.headers.emplace_back("location", fault.target);
      break;
    case ActiveSyncFaultKind::common:
      write_document(activesync_status(call.query.command, fault.status), reply);
      break;
    case ActiveSyncFaultKind::garbage:
      reply.body = "<html><body>An error occurred on the server.</body></html>";
      reply.type = kWbxmlType;
      break;
    case ActiveSyncFaultKind::drop:
      reply.drop = true;
      break;
  }
}

// ---- what tests ask for ----

Task<bool> Exchange::add_activesync_fault(ActiveSyncFault fault) {
  auto rule = RuleList<ActiveSyncFault>::make(std::move(fault));
  for (auto& part : parts_) {
    bool added = co_await on_part(*part, [&rule](Part& p) {
      if (p.activesync_faults.size() >= p.shared.options.faults_max) return false;
      p.activesync_faults.add(rule);
      return true;
    });
    if (!added) co_return false;
  }
  co_return true;
}

Task<bool> Exchange::wipe_device(std::string address, std::string device_id) {
  co_return co_await on_part(home(address), [&](Part& p) {
    Mailbox* mailbox = p.find_by_address(address);
    if (!mailbox) return false;
    auto at = mailbox->devices.find(ascii_lower(device_id));
    if (at == mailbox->devices.end()) return false;
    at->second->wipe = RemoteWipe::asked;
    return true;
  });
}

Task<std::optional<std::vector<ActiveSyncDeviceView>>> Exchange::devices(std::string address) {
  co_return co_await on_part(home(address), [&](Part& p) -> std::optional<std::vector<ActiveSyncDeviceView>> {
    Mailbox* mailbox = p.find_by_address(address);
    if (!mailbox) return std::nullopt;
    std::vector<ActiveSyncDeviceView> views;
    for (const auto& [key, device] : mailbox->devices) {
      views.push_back({device->id, device->type, device->user_agent, device->model, device->os,
                       remote_wipe_name(device->wipe), device->policy_key, device->commands});
    }
    return views;
  });
}

}  // namespace bellhop::standin
