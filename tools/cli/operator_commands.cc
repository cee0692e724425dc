// SPDX-License-Identifier: Apache-2.0
// The commands for people who run a server: what they take. What they do is in tools/commands.
#include <memory>

#include "tools/cli/tree.h"
#include "tools/commands/compliance.h"
#include "tools/commands/operate.h"

namespace bellhop::tools {
namespace {

constexpr const char* kOnServer = "On a running server";

void add_user_choice(CLI::App* command, UserChoice& who) {
  command->add_option("--tenant", who.tenant, "The tenant's id in the configuration");
  auto* user = command->add_option("--user", who.user, "The user, as `bellhop users` shows it");
  auto* user_id = command->add_option("--user-id", who.user_id, "The user by what devices send: SHA-256 of the lower-cased address in hex");
  auto* address = command->add_option("--address", who.address, "The user by the address, which is hashed here and goes nowhere");
  user->excludes(user_id)->excludes(address);
  user_id->excludes(address);
}

void add_listing(CLI::App* command, Listing& listing) {
  add_target(command, listing.target);
  add_user_choice(command, listing.who);
  command->add_option("--limit", listing.limit, "Rows at most")->check(CLI::Range(1u, 1'000'000u));
  auto* after = command->add_option("--after", listing.after, "Go on behind a page, with what it printed at its end");
  command->add_flag("--all", listing.all, "All rows, page after page")->excludes(after);
  command->add_flag("--json", listing.json, "JSON, as docs/openapi.json describes it");
}

void add_choice(CLI::App* command, Choice& choice, const std::string& what) {
  command->add_option("id", choice.id, "The " + what + "'s id, as `bellhop " + what + " list` shows it");
  add_target(command, choice.target);
  command->add_flag("--json", choice.json, "JSON, as docs/openapi.json describes it");
}

void add_device_choice(CLI::App* command, Choice& choice) {
  add_choice(command, choice, "device");
  add_user_choice(command, choice.who);
  command->add_option("--device-id", choice.device_id, "The device by what it calls itself; needs its user, but for block, unblock and wipe");
}

template <class Options>
CLI::App* command_with(CLI::App& parent, const std::string& name, const std::string& help, Action& chosen,
                       const std::shared_ptr<Options>& options, int (*function)(const Options&)) {
  CLI::App* command = parent.add_subcommand(name, help);
  choose(command, chosen, [options, function] { return function(*options); });
  return command;
}

void add_device_commands(CLI::App& devices, Action& chosen) {
  auto listing = std::make_shared<Listing>();
  CLI::App* list = command_with(devices, "list", "List devices, of one user or of all", chosen, listing, &list_devices);
  list->group(kOnServer);
  add_listing(list, *listing);
  teach(list, "bellhop device list --tenant example --address ann@example.com");

  auto shown = std::make_shared<Choice>();
  CLI::App* show = command_with(devices, "show", "Show one device", chosen, shown, &show_device);
  show->group(kOnServer);
  add_device_choice(show, *shown);
  teach(show, "bellhop device show --tenant example --address ann@example.com --device-id phone1",
        "logName is the name under which the server's log speaks of the device until it is restarted.");

  auto removed = std::make_shared<Choice>();
  CLI::App* remove = command_with(devices, "remove", "Remove a device, as its own unsubscribe would", chosen, removed, &remove_device);
  remove->group(kOnServer);
  add_device_choice(remove, *removed);
  teach(remove, "bellhop device remove 00112233445566778899aabbccddeeff",
        "Its pushes stop at once. The last device of a user ends the mailbox's subscription and deletes the key pair. The\n"
        "app may register again; a device that was blocked comes back unblocked.");

  auto wiped = std::make_shared<Choice>();
  CLI::App* wipe = command_with(devices, "wipe", "Remove a device that was lost or wiped", chosen, wiped, &wipe_device);
  wipe->group(kOnServer);
  add_device_choice(wipe, *wiped);
  teach(wipe, "bellhop device wipe 00112233445566778899aabbccddeeff",
        "As `device remove`, and a subscription that carries its credentials ends at once instead of living on until another\n"
        "device has subscribed; the user gets another key pair.");

  auto blocked = std::make_shared<Choice>();
  CLI::App* block = command_with(devices, "block", "Block a device", chosen, blocked, &block_device);
  block->group(kOnServer);
  add_device_choice(block, *blocked);
  teach(block, "bellhop device block 00112233445566778899aabbccddeeff",
        "Its pushes stop at once, and so does a subscription that carries its credentials. It may not register again, and the\n"
        "gateway keeps it out. --device-id alone names one by its ActiveSync DeviceId, whoever uses it.");

  auto unblocked = std::make_shared<Choice>();
  CLI::App* unblock = command_with(devices, "unblock", "Let a blocked device be used again", chosen, unblocked, &unblock_device);
  unblock->group(kOnServer);
  add_device_choice(unblock, *unblocked);
  teach(unblock, "bellhop device unblock 00112233445566778899aabbccddeeff");
}

void add_compliance_target(CLI::App* command, ComplianceOptions& options) {
  add_target(command, options.target);
  command->add_option("--tenant", options.tenant, "The tenant's id; may be left out where there is one");
  command->add_flag("--json", options.json, "JSON, as docs/openapi.json describes it");
}

void add_compliance_commands(CLI::App& root, Action& chosen) {
  CLI::App* compliance = group(root, "compliance", "What is known of devices, and the policy over it, on a running server");
  compliance->footer("docs/policy.md has the members of a device and the rules.");
  auto status_of = std::make_shared<ComplianceOptions>();
  CLI::App* status = command_with(*compliance, "status", "Show the policy, its rules, and how the data stands", chosen,
                                  status_of, &show_compliance_status);
  add_target(status, status_of->target);
  status->add_flag("--json", status_of->json, "JSON, as docs/openapi.json describes it");
  teach(status, "bellhop compliance status");

  auto whole = std::make_shared<ComplianceOptions>();
  CLI::App* put = command_with(*compliance, "put", "Replace all that is known of a tenant's devices", chosen, whole, &put_compliance);
  put->add_option("file", whole->file, "JSON lines or one array; - for standard input")->required();
  add_compliance_target(put, *whole);
  teach(put, "bellhop compliance put devices.jsonl", "What is blocked or wiped by name stays so.");

  auto delta = std::make_shared<ComplianceOptions>();
  CLI::App* patch = command_with(*compliance, "patch", "Change what is known of some devices", chosen, delta, &patch_compliance);
  patch->add_option("file", delta->file, "JSON lines or one array; - for standard input")->required();
  add_compliance_target(patch, *delta);
  teach(patch, "bellhop compliance patch changes.jsonl",
        "A line is for example {\"deviceId\":\"ApplF1\",\"compromised\":true}; members that are left out stay as they are.");

  auto shown = std::make_shared<ComplianceOptions>();
  CLI::App* show = command_with(*compliance, "explain", "Show what is known of a device, and what the policy makes of it", chosen,
                                shown, &show_compliance);
  show->add_option("device", shown->device, "What the device is called: its ActiveSync DeviceId or its deviceId")->required();
  add_compliance_target(show, *shown);
  show->add_option("--address", shown->address, "Who uses it; hashed here");
  show->add_option("--point", shown->point, "At this point alone")
      ->check(CLI::IsMember({"registration", "subscription", "callback", "push", "ews", "activesync"}));
  show->add_option("--mail-client", shown->mail_client, "As the request's User-Agent would name it");
  show->add_option("--device-type", shown->device_type, "As an ActiveSync request would name it");
  show->add_option("--command", shown->command, "An ActiveSync command, or OPTIONS");
  teach(show, "bellhop compliance explain ApplF1 --address ann@example.com --point activesync",
        "Says which rule decides, since when, and what lifts a block.");
}

void add_subscription_commands(CLI::App& root, Action& chosen) {
  CLI::App* subscriptions = group(root, "subscription", "Subscriptions at Exchange, on a running server");
  subscriptions->footer("A mailbox has one, shared by its user's devices.");
  auto listing = std::make_shared<Listing>();
  CLI::App* list = command_with(*subscriptions, "list", "List subscriptions", chosen, listing, &list_subscriptions);
  add_listing(list, *listing);
  list->add_option("--state", listing->state, "Only these; refused: Exchange refused the credentials")
      ->check(CLI::IsMember({"pending", "active", "late", "lost", "refused"}));
  list->add_option("--host", listing->host, "Only those at this EWS host");
  teach(list, "bellhop subscription list --state lost --all",
        "pending: no callback yet; active: heard of within 1.25 heartbeats; late: within two; lost: longer ago.");

  auto shown = std::make_shared<Choice>();
  CLI::App* show = command_with(*subscriptions, "show", "Show one subscription", chosen, shown, &show_subscription);
  add_choice(show, *shown, "subscription");
  show->get_option("id")->required();
  teach(show, "bellhop subscription show 00112233445566778899aabbccddeeff");

  auto ended = std::make_shared<Choice>();
  CLI::App* end = command_with(*subscriptions, "end", "End a subscription: Exchange is told with its next callback", chosen, ended, &end_subscription);
  add_choice(end, *ended, "subscription");
  end->get_option("id")->required();
  teach(end, "bellhop subscription end 00112233445566778899aabbccddeeff",
        "Devices and key stay. At their next check-in the user's devices are told to subscribe again.");
}

void add_keys_commands(CLI::App& root, Action& chosen) {
  CLI::App* keys = group(root, "keys", "Key pairs of users, on a running server");
  keys->footer("The keys in the keyring file are another thing: `bellhop keyring`.");
  auto listing = std::make_shared<Listing>();
  CLI::App* rotate = command_with(*keys, "rotate", "Give users new key pairs, at their next heartbeats", chosen, listing, &rotate_keys);
  add_target(rotate, listing->target);
  add_user_choice(rotate, listing->who);
  rotate->add_flag("--all", listing->all, "Everybody")->excludes("--tenant")->excludes("--user");
  rotate->add_flag("--json", listing->json, "JSON, as docs/openapi.json describes it");
  teach(rotate, "bellhop keys rotate --tenant example\nbellhop keys rotate --tenant example --address ann@example.com\nbellhop keys rotate --all",
        "No device takes part: a callback brings the credentials, the server subscribes anew with the new key, and the old key\n"
        "is erased with the old subscription. Progress: bellhop_keys_rotated_total and bellhop_renewals_total.");
}

void add_audit_commands(CLI::App& root, Action& chosen) {
  struct Audit {
    AdminTarget target;
    bool json = false;
  };
  auto audited = std::make_shared<Audit>();
  CLI::App* audit = root.add_subcommand("audit", "Prove that a running server has lost no event");
  add_target(audit, audited->target);
  audit->add_flag("--json", audited->json, "JSON, as docs/openapi.json describes it");
  choose(audit, chosen, [audited] { return show_audit(audited->target, audited->json); });
  teach(audit, "bellhop audit --socket /run/bellhop/admin.sock",
        "Every accepted event must have ended for every device, wait in the journal or be in flight, on each core; and the\n"
        "journal in the store must be the one that is counted. Ends with 1 where that is not so.");

  auto explained = std::make_shared<Choice>();
  CLI::App* explain = command_with(root, "explain", "What happened to a device, user or subscription, and what comes next; or what an outcome means",
                                   chosen, explained, &explain_thing);
  explain->add_option("thing", explained->id, "Id of a user, device or subscription, or name of an outcome");
  add_target(explain, explained->target);
  explain->add_flag("--json", explained->json, "JSON, as docs/openapi.json describes it");
  add_user_choice(explain, explained->who);
  explain->add_option("--device-id", explained->device_id, "The device by what it calls itself; needs its user");
  teach(explain, "bellhop explain --tenant example --address ann@example.com\n  bellhop explain 00112233445566778899aabbccddeeff\n"
        "  bellhop explain refused.overload",
        "Times are UTC. The server remembers its last 2,048 callbacks with mail and pushes a core, and the last 8 of each\n"
        "outcome, until it is restarted; what is stored (registrations, last contact, journal) it knows for ever.");
}

}  // namespace

void add_operator_commands(CLI::App& root, CLI::App& devices, Action& chosen) {
  struct Status {
    AdminTarget target;
    bool json = false;
  };
  auto status = std::make_shared<Status>();
  CLI::App* command = root.add_subcommand("status", "How a running server is: one page");
  add_target(command, status->target);
  command->add_flag("--json", status->json, "JSON, as docs/openapi.json describes it");
  choose(command, chosen, [status] { return show_status(status->target, status->json); });
  teach(command, "bellhop status --socket /run/bellhop/admin.sock",
        "States of subscriptions are counted in a sample of up to 1,024; warnings and errors are counted since the start.");

  auto listing = std::make_shared<Listing>();
  CLI::App* users = command_with(root, "users", "List users of a running server, with devices and subscription", chosen, listing, &list_users);
  add_listing(users, *listing);
  teach(users, "bellhop users --tenant example --limit 20",
        "The store knows no address: a user is shown as a keyed hash, and found by address with --address, which hashes it\n"
        "here. Ends with 1 where a user was named and is not there.");

  add_device_commands(devices, chosen);
  add_compliance_commands(root, chosen);
  add_subscription_commands(root, chosen);
  add_keys_commands(root, chosen);
  add_audit_commands(root, chosen);
}

}  // namespace bellhop::tools
