// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/task.h"
#include "crypto/record.h"
#include "proto/autodiscover.h"
#include "proto/url.h"
#include "service/config.h"
#include "service/http1_client.h"
#include "service/log.h"
#include "service/metrics.h"
#include "service/tenants.h"
#include "service/upstreams.h"

namespace bellhop::service {

// One search of Autodiscover, from an address to an EWS URL. See autodiscover.h for its invariants. Lives in the frame of
// its caller, who sets the deadline.
class AutodiscoverSearch {
 public:
  struct Tools {
    const AutodiscoverConfig& config;
    const EwsConfig& ews;
    UpstreamRoutes& routes;
    MetricsShard& metrics;
    Log& log;
  };
  AutodiscoverSearch(Tools tools, const Tenant& tenant, const crypto::CredentialRecord& credentials,
                     std::string_view domain);
  ~AutodiscoverSearch();  // wipes the address
  AutodiscoverSearch(const AutodiscoverSearch&) = delete;
  AutodiscoverSearch& operator=(const AutodiscoverSearch&) = delete;

  // AutodiscoverResult::found, then url() is set; else the most telling of what went wrong.
  Task<AutodiscoverResult> run();
  const std::string& url() const { return url_; }
  // An address of another domain led to it.
  bool moved_domain() const { return moved_domain_; }

 private:
  // How the search goes on.
  enum class Turn : uint8_t {
    next,       // with the next way
    next_host,  // nobody is there: no use in asking the same host in another form
    restart,    // with another address
    found,
    stop,  // no use in going on: result_ says why
  };
  // An answer, taken off its connection.
  struct Answer {
    uint16_t status = 0;
    std::string location;
    proto::AutodiscoverKind kind = proto::AutodiscoverKind::refused;
    std::string external_url, internal_url, redirect, error;
    std::optional<Error> unreadable;  // a 200 that is no answer of Autodiscover
  };

  Task<Turn> ask_domain();
  Task<Turn> ask_host(std::string host, uint16_t port);
  Task<Turn> ask_service();
  bool was_asked(const proto::Url& url, proto::AutodiscoverForm form) const;
  Task<Turn> ask(proto::Url url, proto::AutodiscoverForm form);
  Task<Turn> probe(std::string host);
  Task<Turn> follow(std::string location, proto::Url from, proto::AutodiscoverForm form);
  Task<Turn> judge(const Answer& answer, const proto::Url& url, proto::AutodiscoverForm form);
  Turn take_settings(const Answer& answer);
  Turn take_address(const std::string& address);
  Task<std::expected<Answer, Http1Failure>> post(const proto::Url& url, proto::AutodiscoverForm form);
  Task<std::expected<Answer, Http1Failure>> get_plain(const std::string& host);
  Turn failed(const Http1Failure& failure);
  bool may_redirect();
  void note(AutodiscoverResult result);

  const Tools tools_;
  const Tenant& tenant_;
  const crypto::CredentialRecord& credentials_;
  const Http1ClientOptions options_;
  std::string address_, domain_;
  std::string url_;
  std::vector<std::string> visited_;  // what was asked: forms and URLs; addresses by their hashes
  int redirects_ = 0;
  bool moved_domain_ = false;
  AutodiscoverResult result_ = AutodiscoverResult::no_permitted_host;
};

}  // namespace bellhop::service
