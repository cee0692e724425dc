// SPDX-License-Identifier: Apache-2.0
#include "tools/commands/gateway.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "tools/cli/tree.h"

namespace bellhop::tools {
namespace {

void add_look_up(CLI::App& gateways, Action& chosen, const std::string& kind, const std::string& help, const std::string& subject,
                 const std::string& example) {
  auto look_up = std::make_shared<GatewayLookUp>();
  look_up->kind = kind;
  CLI::App* command = gateways.add_subcommand(kind, help);
  command->add_option("subject", look_up->subject, subject)->required();
  if (kind == "account") command->add_option("--tenant", look_up->tenant, "Whose account, where there are several tenants");
  command->add_option("--limit", look_up->limit, "Requests to show, at most")->check(CLI::Range(1u, 256u));
  command->add_flag("--json", look_up->json, "JSON, as docs/openapi.json describes it");
  add_target(command, look_up->target);
  teach(command, "bellhop gateway " + kind + " " + example,
        "The gateway remembers the last 4,096 requests of each core, and the last 8 of each outcome, since its start.");
  choose(command, chosen, [look_up] { return show_gateway_requests(*look_up); });
}

}  // namespace

void add_gateway_commands(CLI::App& root, Action& chosen) {
  CLI::App* gateways = group(root, "gateway", "The gateway of a running server: who asked lately, and how Exchange is behind it");
  struct Options {
    AdminTarget target;
    bool json = false;
    uint32_t status = 0;
  };
  auto shown = std::make_shared<Options>();
  CLI::App* show = gateways->add_subcommand("show", "How it is: requests, outcomes, certificate, upstreams, Kerberos");
  add_target(show, shown->target);
  show->add_flag("--json", shown->json, "JSON, as docs/openapi.json describes it");
  teach(show, "bellhop gateway show --socket /run/bellhop/admin.sock");
  choose(show, chosen, [shown] { return show_gateway(shown->target, shown->json); });

  add_look_up(*gateways, chosen, "device", "What a device asked lately", "Its ActiveSync DeviceId, in any of its spellings",
              "androidc1234567890");
  add_look_up(*gateways, chosen, "account", "What an account asked lately, from all its devices", "Its address; a hash of it is sent",
              "ann@example.com");
  add_look_up(*gateways, chosen, "device-type", "What devices of a type asked lately", "The ActiveSync DeviceType", "iPhone");
  add_look_up(*gateways, chosen, "mail-client", "What a mail client asked lately", "Its User-Agent", "Apple-iPhone14C5/2105.219");

  auto listed = std::make_shared<Options>();
  CLI::App* redirects = gateways->add_subcommand("redirects", "List where Exchange sent accounts; their next requests go there at once");
  add_target(redirects, listed->target);
  redirects->add_flag("--json", listed->json, "JSON, as docs/openapi.json describes it");
  teach(redirects, "bellhop gateway redirects");
  choose(redirects, chosen, [listed] { return show_redirects(listed->target, listed->json); });

  auto forgotten = std::make_shared<Options>();
  CLI::App* forget = gateways->add_subcommand("forget-redirects", "Forget them, so that Exchange is asked anew where mailboxes are");
  add_target(forget, forgotten->target);
  forget->add_option("--status", forgotten->status, "Those of one status only")->check(CLI::IsMember({302u, 451u}));
  teach(forget, "bellhop gateway forget-redirects --status 451");
  choose(forget, chosen, [forgotten] { return forget_redirects(forgotten->target, forgotten->status); });
}

}  // namespace bellhop::tools
