// SPDX-License-Identifier: Apache-2.0
#include "service/outcome_texts.h"

#include <array>

namespace bellhop::service {
namespace {

// In the order of the enums.
constexpr std::array<OutcomeText, kDeviceOutcomes> kDeviceTexts = {{
    {"APNs accepted the push, with what the content policy shows of the mail", ""},
    {"FCM accepted the push", ""},
    {"SNS accepted the push", ""},
    {"the push was accepted without content: Exchange did not give the mail in time, or policy hides all of it",
     "where Exchange is the cause, its host shows an open breaker or slow answers: bellhop status"},
    {"the push could not be made in time; a synced record without content waits in the journal and is tried again",
     "where it lasts, the push service or the way to it is down: bellhop status"},
    {"the mail had been pushed to this device before", ""},
    {"the mail is part of one push that stands for many", "notification.merge_above says from how many mails on"},
    {"the mail was deleted or moved before Exchange could be asked for it", ""},
    {"the tenant's policy keeps this device from getting pushes", "see the tenant's policy and the device's state"},
    {"the device's own preferences keep it quiet", ""},
    {"the mailbox has no device", "the user's app has to subscribe again, or its subscription is on its way out"},
    {"the journal tried for as long as it keeps a record, and gave up",
     "the push service was out of reach for that long: bellhop status, and the log's apns events"},
    {"the push service says that the app is not on the device any more", "the user's app has to subscribe again"},
    {"the push service refuses this push for good, or the configuration has no app for the device",
     "the log's push_refused and push_app_missing name the reason; check topic and key of the tenant's app"},
}};
constexpr std::array<OutcomeText, kCallbackOutcomes> kCallbackTexts = {{
    {"answered OK: every push of this callback was accepted, refused for good, or is in the journal", ""},
    {"a status event of Exchange, answered OK; there was nothing else in it", ""},
    {"only the number of unread mails changed; answered OK", ""},
    {"answered Unsubscribe: the subscription was ended, its device removed, or replaced by a newer one", ""},
    {"answered Unsubscribe: the device was blocked or wiped", ""},
    {"404: nobody's capability, or credentials that are not those we gave to Exchange with it",
     "a few come from subscriptions of an earlier store; many from one address are somebody who guesses"},
    {"400 or 413: no callback of Exchange, or one that is too large", "something else than Exchange calls this address"},
    {"503: this subscription called more often than notification.callbacks_per_mailbox_per_minute_max; Exchange repeats",
     "raise the limit where the mailbox really gets so much mail"},
    {"503: too much work at once, or a push that did not end in time; Exchange repeats after 30 s, then twice the time, up to "
     "the heartbeat interval", "where it lasts: bellhop status shows which queue is long"},
    {"503: this server is about to stop; Exchange repeats", ""},
    {"503: this server starts, its store cannot be read, or the subscription's tenant is not in the configuration; Exchange repeats",
     "the log's route_unreadable, mailbox_unreadable or tenant_unknown says which"},
}};
constexpr std::array<OutcomeText, kApiOutcomes> kApiTexts = {{
    {"done", ""},
    {"422, 413 or 400: no JSON, or fields that are missing or wrong", "the app's version does not fit this server: docs/api.md"},
    {"401: the API token is missing, unknown or revoked", "bellhop token list; give the apps a token of their tenant"},
    {"403: the device secret is missing or wrong", "the app registers anew with its credentials"},
    {"Exchange, or the token endpoint, refused the user's credentials", "the user signs in again"},
    {"502: Exchange or Autodiscover could not be reached, or refused the subscription", "the answer names Exchange's response code; bellhop status shows the host"},
    {"429: asked too often, or Exchange asked us to wait", "apps wait for Retry-After"},
    {"403: the device is blocked", "unblock it where that was a mistake"},
    {"503: no key pair is ready, the store cannot be written, or the server is about to stop", "where it lasts: bellhop status, key pairs and store"},
}};
constexpr std::array<OutcomeText, kGatewayOutcomes> kGatewayTexts = {{
    {"Exchange answered, and the client got its answer", ""},
    {"Exchange asked for credentials, or did not take those of the client; the client got this answer",
     "one before each logon is usual; where it stays, the user's password or token is not good"},
    {"Exchange answered with an error, and the client got it", "Exchange's own log says why; bellhop gateway show tells of the upstream"},
    {"the answer began and was cut: the client, Exchange or the way between them broke", "a few are usual with phones that move"},
    {"403: the compliance policy does not let this device in", "bellhop compliance explain DEVICE names the rule and how to lift it"},
    {"a request that waited at Exchange was ended because its device was blocked meanwhile",
     "bellhop compliance explain DEVICE names the rule and how to lift it"},
    {"421: no [[gateway.route]] has the host that the client asked for", "add the host to a route, or correct the client or the DNS"},
    {"404: neither EWS nor ActiveSync, or an endpoint that this route does not have", "many from one address are somebody who looks for holes"},
    {"405: not a method of this endpoint", ""},
    {"400: a target, query, header or body that is no good request", "many from one address are somebody who looks for holes"},
    {"400: a request that two servers could read in two ways, with a parameter twice for example",
     "where it is a real client, its vendor has to know; otherwise somebody looks for holes"},
    {"400: the request names two different accounts or ways to log on, or a user by what is no name",
     "where it is a real user, [[gateway.domain]] lacks the other name of the account"},
    {"401: the client tried NTLM or Negotiate, which the gateway does not take, or its credentials cannot be read: an opaque token, or for ActiveSync one "
     "that names no user",
     "set the client to Basic, OAuth with a user's token, or a certificate"},
    {"403: a client certificate is asked for and was not shown, is not good any more, or does not name an account",
     "give the device a certificate, or correct [gateway.certificates]"},
    {"403: the signed context of a bellhop is not good: another key, a clock that is wrong, older than five minutes, or of another request",
     "the same context key and the right time on both servers"},
    {"403: this class of clients may not use the EWS operation or SOAP header", "add it to the class in [[gateway.client]], or to gateway.operations"},
    {"415: the body of the request cannot be looked at: it is compressed, or by its Content-Type not XML in UTF-8 (EWS), WBXML or MIME (ActiveSync)", ""},
    {"413: the body is larger than the endpoint's body_bytes_max", "raise it where Exchange takes larger mails"},
    {"503: too many requests with one set of credentials or on one core, or too many long polls at one upstream",
     "gateway.requests_per_account_max and requests_in_work_max; connections_max of the endpoint"},
    {"503: this server is about to stop; the client repeats", ""},
    {"503: the policy cannot decide now: its source cannot be reached, or its records are not loaded", "bellhop compliance status shows the source"},
    {"502 or 503: the gateway could not log on for the user by Kerberos", "the log's gateway_logon_failed says why; bellhop check --online tests it"},
    {"502: Exchange could not be reached, or its answer was no good HTTP", "the log's gateway_upstream_failed names the host and says why"},
    {"504: Exchange did not answer in time", "the upstream's answer_timeout_ms, or its load"},
    {"503: so many requests failed at this upstream that it is given a rest, or all its connections are in use",
     "bellhop gateway show tells of the upstream"},
    {"502: Exchange sent the client to a server that no route names, or from one to the other and back",
     "add the server to the endpoint's redirect_to"},
    {"the client went away before it had its answer, or did not send its body", "usual with phones that move"},
}};

}  // namespace

OutcomeText explain(DeviceOutcome outcome) { return kDeviceTexts[size_t(outcome)]; }
OutcomeText explain(CallbackOutcome outcome) { return kCallbackTexts[size_t(outcome)]; }
OutcomeText explain(ApiOutcome outcome) { return kApiTexts[size_t(outcome)]; }
OutcomeText explain(GatewayOutcome outcome) { return kGatewayTexts[size_t(outcome)]; }

}  // namespace bellhop::service
