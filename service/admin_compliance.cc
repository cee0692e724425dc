// SPDX-License-Identifier: Apache-2.0
// What is known of devices: given as a whole (PUT) or in part (PATCH), shown, and what the policy makes of it.
#include <fmt/format.h>

#include <algorithm>

#include "core/base/bytes.h"
#include "core/io.h"
#include "proto/target.h"
#include "service/admin_listing.h"
#include "service/compliance.h"
#include "service/compliance_lines.h"
#include "service/error_texts.h"
#include "service/policy.h"
#include "service/policy_config_rules.h"
#include "store/error.h"

namespace bellhop::service::admin {

using service::name_of;

namespace {

using service::name_of;
using proto::JsonWriter;
using proto::ProblemCode;

constexpr std::string_view kFormText = "objects in lines, or one array of objects; see docs/policy.md";

// The tenant of the query: the one that it names, or the only one there is. Empty: `complaint` says why.
std::string tenant_of(const Call& call, const Parameters& parameters, std::string& complaint) {
  std::vector<std::string> tenants = policy_tenants(call.core.config());
  auto named = parameters.find("tenant");
  if (!named && tenants.size() == 1) return tenants.front();
  if (!named) {
    complaint = "there are several tenants; say whose devices: ?tenant=ID";
    return "";
  }
  if (std::ranges::find(tenants, *named) != tenants.end()) return std::string(*named);
  complaint = "there is no such tenant";
  return "";
}

class ReaderSink final : public BodySink {
 public:
  explicit ReaderSink(ComplianceReader& reader) : reader_(reader) {}
  Status on_body(Bytes piece) override { return reader_.feed(as_text(piece)); }

 private:
  ComplianceReader& reader_;
};

Task<void> respond_change(Call& call, const ComplianceChange& change, Duration took) {
  std::string body;
  JsonWriter json(body);
  json.begin_object()
      .member("lines", change.lines)
      .member("devices", change.names)
      .member("removed", change.removed)
      .member("held", change.held)
      .member("wiped", change.wiped.size())
      .member("textsRefused", change.texts_refused)
      .member("milliseconds", static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()))
      .end_object();
  co_await respond_json(call.exchange, body);
}

Task<void> refuse_change(Call& call, const Error& error, const ComplianceReader& reader) {
  if (is(error, ServiceError::compliance_data)) {
    co_await respond_problem(call.exchange, 422, ProblemCode::malformed,
                             reader.complaint().empty() ? error_text(error) : reader.complaint());
  } else if (is(error, ServiceError::compliance_limit) || is(error, ServiceError::compliance_delta_limit)) {
    co_await respond_problem(call.exchange, 413, ProblemCode::malformed, error_text(error));
  } else if (error.domain == Domain::http) {
    uint16_t status = proto::http_error_status(error);
    if (status == 0) co_return;  // nobody is left to answer
    co_await respond_problem(call.exchange, status, ProblemCode::malformed,
                             fmt::format("{}; policy.data_bytes_max says how much is taken at once", error_text(error)));
  } else {
    co_await respond_store_failure(call.exchange, error);
  }
}

struct ChangeCall {
  std::string tenant;
  Instant began = io::now();
};

// Nothing where the call was refused.
Task<std::optional<ChangeCall>> begin_change(Call& call) {
  constexpr std::string_view kNames[] = {"tenant"};
  Parameters parameters;
  std::string complaint;
  ChangeCall change;
  if (read_parameters(call.query, kNames, parameters, complaint)) change.tenant = tenant_of(call, parameters, complaint);
  if (!change.tenant.empty()) co_return change;
  co_await respond_problem(call.exchange, 422, ProblemCode::malformed, complaint);
  co_return std::nullopt;
}

// Whole data by hand would count only until the source gives its own again. False: it was refused.
Task<bool> may_replace(Call& call, const std::string& tenant) {
  const Config& config = call.core.config();
  auto source = std::ranges::find_if(config.policy.sources, [&](const PolicySourceConfig& each) { return source_tenant(config, each) == tenant; });
  if (source == config.policy.sources.end()) co_return true;
  std::string_view kind = source->kind == PolicySourceKind::file ? "file" : "uem";
  co_await respond_problem(call.exchange, 409, ProblemCode::forbidden,
                           fmt::format("tenant \"{}\" is fed by [[policy.source]] of kind \"{}\"; change the devices there, or override single ones "
                                       "by PATCH /v1/compliance (bellhop compliance patch) or bellhop device block", tenant, kind));
  co_return false;
}

// ---- How it is shown ----

void append_facts(JsonWriter& json, const DeviceFacts& facts) {
  json.name("facts").begin_object();
  json.member("account", facts.account != 0 ? "known" : "unknown");
  json.member("managed", name_of(facts.managed));
  json.member("compromised", name_of(facts.compromised));
  json.member("encrypted", name_of(facts.encrypted));
  json.member("activeSyncProfile", name_of(facts.activesync_profile));
  json.member("override", name_of(facts.override_to));
  auto text = [&](std::string_view name, std::string_view value) {
    if (!value.empty()) json.member(name, value);
  };
  text("model", facts.model);
  text("os", facts.os);
  text("osVersion", facts.os_version);
  text("deviceType", facts.device_type);
  text("mailClient", facts.mail_client);
  if (facts.last_contact != WallTime()) json.member("lastContact", timestamp(facts.last_contact));
  json.member("updated", timestamp(facts.updated));
  json.end_object();
}

// As a shell takes it. What is not printable ASCII is left to the reader.
std::string shell_word(std::string_view text) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._@";
  if (text.find_first_not_of(kPlain) == text.npos) return std::string(text);
  if (!std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; })) return "ID";
  std::string word = "'";
  for (char c : text) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

// `device`: how `bellhop device` is told which one.
void append_decision(JsonWriter& json, const Policy& policy, const PolicyQuestion& question, std::string_view device) {
  std::vector<Policy::Step> steps;
  PolicyDecision decision = policy.explain(question, steps);
  json.begin_object()
      .member("point", name_of(question.point))
      .member("verdict", name_of(decision.verdict))
      .member("reason", name_of(decision.reason));
  if (decision.rule != kNoRule) json.member("rule", policy.rules().name(decision.rule));
  if (decision.unknown) json.member("becauseUnknown", true);
  if (decision.since != WallTime()) json.member("since", timestamp(decision.since));
  if (decision.dry_run) json.member("dryRun", true);
  if (decision.dry_rule != kNoRule) json.member("dryRunRule", policy.rules().name(decision.dry_rule));
  if (std::string lift = policy.how_to_lift(decision, device); !lift.empty()) json.member("toLift", lift);
  json.name("rules").begin_array();
  for (const Policy::Step& step : steps) {
    json.begin_object()
        .member("rule", policy.rules().name(step.rule))
        .member("match", name_of(step.match))
        .member("decides", step.decides)
        .end_object();
  }
  json.end_array();
  json.end_object();
}

std::optional<DecisionPoint> point_of(std::string_view name) {
  for (size_t i = 0; i < kDecisionPoints; ++i) {
    if (name == name_of(static_cast<DecisionPoint>(i))) return static_cast<DecisionPoint>(i);
  }
  return std::nullopt;
}

// What else a question holds, from the query. False: `complaint` says why not.
bool read_question(const Parameters& parameters, const std::string& tenant, const Vault& vault, PolicyQuestion& question,
                   std::string& complaint) {
  question.mail_client = parameters.find("mailClient").value_or(std::string_view());
  question.device_type = parameters.find("deviceType").value_or(std::string_view());
  if (auto user_id = parameters.find("userId")) {
    auto hash = from_hex(*user_id);
    crypto::Digest digest;
    if (!hash || hash->size() != digest.size()) {
      complaint = "userId is not the SHA-256 of an address in hex";
      return false;
    }
    std::ranges::copy(*hash, digest.begin());
    question.account = vault.user_id(tenant, digest);
  }
  if (auto command = parameters.find("command")) {
    if (*command == "Provision") question.traffic = PolicyTraffic::provision;
    if (*command == "OPTIONS") question.traffic = PolicyTraffic::options;
  }
  return true;
}

}  // namespace

Task<void> replace_compliance(Call& call) {
  auto begun = co_await begin_change(call);
  if (!begun || !co_await may_replace(call, begun->tenant)) co_return;
  Compliance& compliance = *call.core.node.compliance;
  ComplianceBulk bulk = compliance.begin(begun->tenant);
  ComplianceReader reader(false, [&](const ComplianceLine& line) { return compliance.add(bulk, line); });
  ReaderSink sink(reader);
  Status read = co_await call.exchange.read_body(call.core.config().policy.data_bytes_max, sink);
  if (read) read = reader.finish();
  // An empty body is a mistake; an empty list is not.
  if (read && reader.empty()) read = reader.refuse(fmt::format("the body is empty; accepted: {}", kFormText));
  Result<ComplianceChange> change = fail(Error());
  if (read) {
    change = co_await compliance.replace(std::move(bulk));
  } else {
    change = fail(read.error());
  }
  if (!change) {
    co_await refuse_change(call, change.error(), reader);
    co_return;
  }
  log_line(call.core.log, LogLevel::info, "compliance_replaced", field("source", "api"),
           field("tenant", not_personal(begun->tenant)), field("lines", change->lines), field("devices", change->names),
           field("held", change->held));
  co_await respond_change(call, *change, io::now() - begun->began);
}

Task<void> change_compliance(Call& call) {
  auto begun = co_await begin_change(call);
  if (!begun) co_return;
  Compliance& compliance = *call.core.node.compliance;
  std::vector<ComplianceLine> lines;
  size_t lines_max = call.core.config().policy.delta_devices_max;
  ComplianceReader reader(true, [&](const ComplianceLine& line) -> Status {
    if (lines.size() >= lines_max) {
      return fail(service_error(ServiceError::compliance_delta_limit, static_cast<uint32_t>(lines_max)));
    }
    lines.push_back(line);
    return {};
  });
  ReaderSink sink(reader);
  Status read = co_await call.exchange.read_body(call.core.config().policy.data_bytes_max, sink);
  if (read) read = reader.finish();
  if (read && reader.empty()) read = reader.refuse(fmt::format("the body is empty; accepted: {}", kFormText));
  Result<ComplianceChange> change = fail(Error());
  if (read) {
    change = co_await compliance.update(begun->tenant, std::move(lines));
  } else {
    change = fail(read.error());
  }
  if (!change) {
    co_await refuse_change(call, change.error(), reader);
    co_return;
  }
  log_line(call.core.log, LogLevel::info, "compliance_changed", field("source", "api"),
           field("tenant", not_personal(begun->tenant)), field("lines", change->lines), field("removed", change->removed),
           field("held", change->held));
  co_await respond_change(call, *change, io::now() - begun->began);
}

Task<void> compliance_status(Call& call) {
  const Config& config = call.core.config();
  const Compliance& compliance = *call.core.node.compliance;
  std::string body;
  JsonWriter json(body);
  json.begin_object()
      .member("enabled", config.policy.enabled)
      .member("dryRun", config.policy.dry_run)
      .member("unknownDevices", config.policy.unknown_devices == RuleVerdict::block ? "block" : "allow")
      .member("knownDevices", config.policy.known_devices == RuleVerdict::block ? "block" : "allow")
      .member("changes", compliance.changes());
  json.name("rules").begin_array();
  for (const PolicyRuleConfig& rule : config.policy.rules) {
    json.begin_object()
        .member("name", rule.name)
        .member("verdict", rule.verdict == RuleVerdict::block ? "block" : "allow")
        .member("onUnknown", rule.on_unknown == RuleVerdict::block ? "block" : "allow")
        .member("dryRun", rule.dry_run)
        .end_object();
  }
  json.end_array();
  json.name("tenants").begin_array();
  for (const std::string& tenant : policy_tenants(config)) {
    Compliance::Counts counts = compliance.counts(tenant);
    SourceReport source = compliance.source(tenant);
    json.begin_object()
        .member("tenant", tenant)
        .member("devices", counts.names)
        .member("held", counts.held)
        .member("bytes", counts.bytes)
        .member("source", name_of(source.kind))
        .member("state", name_of(source.state));
    if (counts.replaced != WallTime()) json.member("replaced", timestamp(counts.replaced));
    if (source.last_success != WallTime()) json.member("lastSuccess", timestamp(source.last_success));
    if (source.last_attempt != WallTime()) json.member("lastAttempt", timestamp(source.last_attempt));
    if (auto stale = compliance.stale_at(tenant); stale && *stale != WallTime()) json.member("staleAt", timestamp(*stale));
    if (!source.complaint.empty()) json.member("complaint", source.complaint);
    json.end_object();
  }
  json.end_array();
  if (auto stored = co_await call.core.node.store.counts()) json.member("devicesUnnamed", stored->devices - stored->devices_named);
  json.end_object();
  co_await respond_json(call.exchange, body);
}

Task<void> show_compliance(Call& call) {
  constexpr std::string_view kNames[] = {"tenant", "userId", "point", "mailClient", "deviceType", "command"};
  Parameters parameters;
  std::string complaint, tenant;
  if (read_parameters(call.query, kNames, parameters, complaint)) tenant = tenant_of(call, parameters, complaint);
  auto device = proto::percent_decode(call.argument);
  PolicyQuestion question{.tenant = tenant, .account = {}, .device = {}, .now = io::wall_now()};
  bool good = !tenant.empty() && read_question(parameters, tenant, call.core.node.vault, question, complaint);
  if (good && (!device || device->empty() || device->size() > kDeviceIdSizeMax)) {
    complaint = "the device's id is empty, too long, or not escaped well";
    good = false;
  }
  std::optional<DecisionPoint> point;
  if (auto named = parameters.find("point"); good && named) {
    point = point_of(*named);
    if (!point) complaint = "point is registration, subscription, callback, push, ews or activesync";
    good = point.has_value();
  }
  if (!good) {
    co_await respond_problem(call.exchange, 422, ProblemCode::malformed, complaint);
    co_return;
  }
  const Compliance& compliance = *call.core.node.compliance;
  question.device = compliance_key(*device);
  DeviceFacts facts;
  bool known = compliance.find(tenant, *question.device, facts);
  WallTime since{};
  ComplianceHold hold = compliance.hold(tenant, *question.device, &since);
  if (hold == ComplianceHold::none && known) hold = compliance.hold(tenant, facts.key, &since);
  auto places = co_await call.core.node.store.find_devices(*question.device);
  if (!places) {
    co_await respond_store_failure(call.exchange, places.error());
    co_return;
  }
  std::string body;
  JsonWriter json(body);
  json.begin_object().member("tenant", tenant).member("known", known).member("hold", name_of(hold));
  if (hold != ComplianceHold::none) json.member("holdSince", timestamp(since));
  if (known) append_facts(json, facts);
  json.name("devices").begin_array();
  for (const store::DevicePlace& place : *places) json.value(to_hex(place.device));
  json.end_array();
  std::string named = fmt::format("--device-id {} --tenant {}", shell_word(*device), shell_word(tenant));
  json.name("decisions").begin_array();
  for (size_t i = 0; i < kDecisionPoints; ++i) {
    question.point = static_cast<DecisionPoint>(i);
    if (point && *point != question.point) continue;
    append_decision(json, *call.core.policy, question, named);
  }
  json.end_array().end_object();
  co_await respond_json(call.exchange, body);
}

std::string hold_tenant(const Call& call, std::string& complaint) {
  constexpr std::string_view kNames[] = {"tenant"};
  Parameters parameters;
  if (!read_parameters(call.query, kNames, parameters, complaint)) return "";
  return tenant_of(call, parameters, complaint);
}

}  // namespace bellhop::service::admin
