// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/intrusive_list.h"
#include "core/context.h"
#include "core/task.h"
#include "proto/activesync.h"
#include "proto/gateway_target.h"
#include "proto/http.h"
#include "proto/wiping_buffer.h"
#include "service/body_relay.h"
#include "service/gateway.h"
#include "service/gateway_answers.h"

namespace bellhop::service {

// One request at the gateway, from its head to its end. Everything about it is decided once, from the form that is then
// forwarded; nothing that the client wrote goes on as it was written. Lives in the frame of Gateway::handle().
//
//   host      Host or :authority → route, or 421
//   target    one of the two endpoints in its canonical spelling, or 404; ActiveSync's query in its one meaning, or 400
//   identity  Basic, Bearer, certificate, signed context; contradictions → 400, NTLM and Negotiate → 401
//   policy    may this device come in? or 403; nobody can say: 503
//   body      the operation of EWS, the root element of ActiveSync: what servers go by, or 403 and 400
//   forward   upstream, both bodies in pieces, redirects followed
//   answer    only what clients may see
//
// Files: gateway_request.cc (the story, host and target), gateway_request_identity.cc, gateway_request_body.cc,
// gateway_forward.cc.
class GatewayRequest : public ListLink {
 public:
  GatewayRequest(Gateway& gateway, HttpExchange& exchange);
  GatewayRequest(const GatewayRequest&) = delete;
  GatewayRequest& operator=(const GatewayRequest&) = delete;
  ~GatewayRequest();

  Task<void> run();
  // Ends the request where the policy blocks it now, or, after a reload, its certificate is good no longer.
  void reconsider(WallTime now, bool reloaded);

 private:
  // ---- On the head alone; none of them waits ----
  Refused check_head();
  Refused find_route();
  Refused read_target();
  Refused check_room();
  Refused check_content();
  Refused identify();
  Refused read_authorization(std::string_view authorization);
  Refused read_certificate(Bytes certificate);
  Refused read_context(std::string_view authorization);
  Refused check_agreement();
  Refused take_place();
  Refused ask_policy();
  void note_rule();
  Refused make_head();
  PolicyQuestion question(WallTime now) const;
  PolicyDecision decide(WallTime now) const;
  std::optional<Error> lost_certificate(WallTime now) const;
  void cut();

  // ---- The body's beginning ----
  Task<Refused> serve();
  Task<Refused> read_ahead();
  Task<Result<bool>> read_piece();
  Task<Result<bool>> wait_for_piece(Task<Result<Bytes>> reading);
  Result<bool> take_piece(const Result<Bytes>& piece);
  Task<Refused> look_at_soap();
  Task<Refused> read_operation(proto::EwsPeek& peek);
  Task<Refused> look_at_wbxml();
  Refused check_operation();
  Refused check_body_hash() const;

  // ---- Exchange ----
  enum class Next : uint8_t { done, redirected, log_on_again, connect_again };
  // Of one server: it was refused, or `next`.
  struct Ended {
    Next next = Next::done;
    Refused refused;
  };
  Task<Refused> forward();
  Task<Ended> ask(const GatewayRoutes::Server& server);
  Task<Ended> ask_over(BodyRelay& relay, UpstreamExchange& exchange, GatewayUpstream& upstream, GatewayUpstream::Attempt& attempt);
  Task<Refused> send_head(GatewayUpstream& upstream, UpstreamExchange& exchange, GatewayUpstream::Attempt& attempt);
  Task<Result<crypto::Secret>> log_on(GatewayUpstream& upstream, UpstreamExchange& exchange);
  Task<Ended> pass_answer(BodyRelay& relay, UpstreamExchange& exchange, const UpstreamAnswerHead& head,
                          GatewayUpstream::Attempt& attempt);
  Task<Refused> give(BodyRelay& relay, const UpstreamAnswerHead& head);
  Ended not_taken();
  Ended connect_again();
  Task<Ended> redirect(const UpstreamAnswerHead& head);
  Task<Refused> send_elsewhere(const GatewayRoutes::Server& server, uint16_t status);
  GatewayRefusal failed(const Error& error, GatewayUpstream::Attempt& attempt) const;
  GatewayRefusal refusal_of_logon(const Error& error) const;
  GatewayRoutes::Server first_server();
  void forget_redirect(const GatewayRoutes::Server& server);
  crypto::Digest redirect_key() const;
  bool was_stale(const UpstreamExchange& exchange, const Error& error) const;
  bool may_happen_twice() const;
  std::string_view connection_owner(const GatewayEndpoint& endpoint) const;
  Duration answer_timeout() const;
  crypto::CookieJar::Binding jar_binding() const;
  std::string cookies_of_jar() const;
  std::string jar_of(const proto::HeaderBlock& answer) const;

  // ---- The end ----
  Refused why_ended(Refused refused, bool client_gone) const;
  Task<void> answer(const GatewayRefusal& refused);
  void note();

  std::string_view user_agent() const { return exchange_.headers().find("user-agent").value_or(std::string_view()); }
  GatewayEndpointLabel label() const;
  bool is_ews() const { return target_ && target_->endpoint == proto::GatewayEndpoint::ews; }

  Gateway& gateway_;
  HttpExchange& exchange_;
  Core& core_;
  const GenerationSlot::Pin pin_;
  const std::shared_ptr<GatewayUpstreams> upstreams_;  // and with it the routes
  const std::shared_ptr<const GatewayKeys> keys_;
  const GatewayRoutes& routes_;
  const Instant began_;
  GatewayEndpointLabel counted_ = GatewayEndpointLabel::none;  // in bellhop_gateway_requests_in_work

  const GatewayRoute* route_ = nullptr;
  const GatewayEndpoint* endpoint_ = nullptr;
  std::optional<proto::GatewayTarget> target_;
  std::optional<proto::ActiveSyncQuery> query_;
  GatewayIdentity identity_;
  store::StoredUserId account_id_;                        // zeros: not known
  std::optional<store::StoredUserId> user_name_id_;       // PolicyQuestion::user_name
  std::optional<store::ComplianceKey> device_;
  PolicyDecision decision_{.verdict = Verdict::allow};
  GatewayTrailEntry::Text<64> rule_name_;                 // of the rule against it, as it was called then
  std::optional<std::map<store::StoredUserId, size_t>::iterator> place_;  // of Gateway::places_
  proto::HeaderBlock head_;                               // of the request, as it is forwarded
  std::string operation_;                                 // of EWS
  bool impersonates_ = false;

  proto::WipingBuffer body_;  // its beginning, or all of it
  bool body_ended_ = false;   // all of it
  bool parked_ = false;       // Exchange may be silent for long
  bool counted_parked_ = false;

  Context* work_ = nullptr;   // of serve()
  bool blocked_ = false;      // by reconsider()
  std::optional<Error> certificate_lost_;  // why it did, where it was not the policy
  bool answer_began_ = false;
  std::optional<GatewayRoutes::Server> redirected_to_;
  unsigned redirects_ = 0;
  bool logged_on_again_ = false;
  bool connected_again_ = false;

  GatewayOutcome outcome_ = GatewayOutcome::passed_ok;
  uint16_t status_ = 0;  // that the client got
  Error error_;
};

}  // namespace bellhop::service
