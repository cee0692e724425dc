// SPDX-License-Identifier: Apache-2.0
#include "service/expiry.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace bellhop::service {
namespace {

// A label's value: a path or Apple's id out of the configuration (the exposition format's escapes).
std::string escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

int64_t seconds(Duration duration) { return std::chrono::floor<std::chrono::seconds>(duration).count(); }
int64_t seconds_until(WallTime then, WallTime now) { return to_unix_seconds(then) - to_unix_seconds(now); }

void render_head(const MetricFamily& family, std::string& out) {
  fmt::format_to(std::back_inserter(out), "# HELP {} {}\n# TYPE {} gauge\n", family.name, family.help, family.name);
}

}  // namespace

std::vector<CertificateExpiry> certificate_expiries(const Config& config, const Node& node) {
  std::vector<CertificateExpiry> all;
  auto add_listener = [&](std::string_view use, const std::string& file, const std::atomic<int64_t>& expires_s) {
    int64_t expires = expires_s.load(std::memory_order_relaxed);
    if (expires != 0) all.push_back({.use = use, .file = file, .valid_from = {}, .expires = WallTime(std::chrono::seconds(expires))});
  };
  add_listener("listener", config.listen_public.certificate_file, node.listener_certificate_expires_s);
  add_listener("gateway", config.listen_gateway.certificate_file, node.gateway_certificate_expires_s);
  for (const auto& certificate : node.apns_tokens.certificates().all()) {
    all.push_back({.use = "apns",
                   .file = certificate->file,
                   .valid_from = certificate->identity.valid_from(),
                   .expires = certificate->identity.expires()});
  }
  std::ranges::sort(all, {}, &CertificateExpiry::expires);
  if (all.size() > kExpirySeriesMax) all.resize(kExpirySeriesMax);
  return all;
}

void render_expiries(const Config& config, const Node& node, WallTime now, std::string& out) {
  auto to = std::back_inserter(out);
  const MetricFamily& certificates = kExpiryMetrics[0];
  const MetricFamily& tokens = kExpiryMetrics[1];
  render_head(certificates, out);
  for (const CertificateExpiry& one : certificate_expiries(config, node)) {
    fmt::format_to(to, "{}{{use=\"{}\",file=\"{}\"}} {}\n", certificates.name, one.use, escaped(one.file),
                   seconds_until(one.expires, now));
  }
  std::vector<ApnsProviderTokens::Age> ages = node.apns_tokens.ages();
  std::ranges::sort(ages, std::greater(), &ApnsProviderTokens::Age::age);
  if (ages.size() > kExpirySeriesMax) ages.resize(kExpirySeriesMax);
  render_head(tokens, out);
  for (const ApnsProviderTokens::Age& one : ages) {
    fmt::format_to(to, "{}{{team=\"{}\",key=\"{}\"}} {}\n", tokens.name, escaped(one.team_id), escaped(one.key_id),
                   seconds(one.age));
  }
}

void ExpiryWatch::look(const Config& config, const Node& node, WallTime wall_now, Instant now) {
  std::map<std::string, Instant> told;
  for (const CertificateExpiry& one : certificate_expiries(config, node)) {
    bool expired = one.expires < wall_now, early = wall_now < one.valid_from;
    if (!expired && !early && one.expires - wall_now > kExpiryWarning) continue;
    auto before = told_.find(one.file);
    bool due = before == told_.end() || now - before->second >= kExpiryReminder;
    told[one.file] = due ? now : before->second;
    if (!due) continue;
    int64_t left_s = seconds_until(one.expires, wall_now);
    if (expired) {
      log_line(log_, LogLevel::error, "certificate_expired", field("use", not_personal(one.use)),
               field("file", not_personal(one.file)), field("since_s", -left_s),
               field("advice", "replace the file; until then whoever needs it is refused"));
    } else if (early) {
      log_line(log_, LogLevel::error, "certificate_not_yet_valid", field("use", not_personal(one.use)),
               field("file", not_personal(one.file)), field("in_s", seconds_until(one.valid_from, wall_now)));
    } else {
      log_line(log_, LogLevel::warning, "certificate_expires_soon", field("use", not_personal(one.use)),
               field("file", not_personal(one.file)), field("in_s", left_s));
    }
  }
  told_ = std::move(told);
}

}  // namespace bellhop::service
