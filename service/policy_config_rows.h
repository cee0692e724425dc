// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "service/config_rows.h"

// The policy's rows of the configuration's table. Included by config_table.cc alone.
namespace bellhop::service::config_rows {

inline constexpr std::string_view kRuleVerdicts[] = {"allow", "block"};
inline constexpr std::string_view kRuleFacts[] = {"any", "no", "yes"};
inline constexpr std::string_view kPolicySourceKinds[] = {"file", "uem"};

inline constexpr KeyRow kPolicyKeys[] = {
    boolean<&PolicyConfig::enabled>("enabled",
        "Devices are judged by what is known of them. Without it only those are kept out that were blocked or wiped by name."),
    boolean<&PolicyConfig::dry_run>("dry_run",
        "Nobody is kept out, but for devices that were blocked or wiped by name; what would be is counted, logged and shown by "
        "`bellhop explain`."),
    choice<&PolicyConfig::unknown_devices>("unknown_devices", kRuleVerdicts,
        "What becomes of a device of which nothing is known, where no rule decides."),
    choice<&PolicyConfig::known_devices>("known_devices", kRuleVerdicts,
        "What becomes of a device of which something is known, where no rule decides."),
    boolean<&PolicyConfig::bind_account>("bind_account",
        "A device that is on record for one account is blocked where another one uses it: its id may have been copied."),
    number<&PolicyConfig::devices_max>("devices_max", 1, 8'000'000, "",
        "Devices of one tenant, further names of a device counted. Each takes about 54 bytes of memory."),
    number<&PolicyConfig::delta_devices_max>("delta_devices_max", 1, 1'000'000, "", "Devices in one `PATCH /v1/compliance`."),
    number<&PolicyConfig::data_bytes_max>("data_bytes_max", 1'024, uint64_t{16} << 30, "bytes",
        "Size of the body of one `PUT` or `PATCH /v1/compliance`, and of a policy.source.file."),
};

inline constexpr KeyRow kPolicyRuleKeys[] = {
    required(text<&PolicyRuleConfig::name>("name", refuse_proxy_name, "\"managed-only\"",
        "What logs, answers and `bellhop explain` call the rule.")),
    choice<&PolicyRuleConfig::verdict>("verdict", kRuleVerdicts,
        "What becomes of a device that all conditions of the rule match."),
    choice<&PolicyRuleConfig::on_unknown>("on_unknown", kRuleVerdicts,
        "Where a condition asks for what is not known and no other condition fails: the same word as `verdict` makes the rule "
        "match, the other word passes it over. `block` fails closed, `allow` fails open."),
    boolean<&PolicyRuleConfig::dry_run>("dry_run",
        "The rule decides nothing; where it would have, that is counted and shown by `bellhop explain`."),
    list<&PolicyRuleConfig::tenants>("tenants", refuse_tenant_id, "[\"example\"]", "Tenants that the rule is for. None: all."),
    list<&PolicyRuleConfig::points>("points", refuse_decision_point, "[\"ews\", \"activesync\"]",
        "Where the rule counts: `registration`, `subscription`, `callback`, `push`, `ews`, `activesync`. None: everywhere."),
    choice<&PolicyRuleConfig::managed>("managed", kRuleFacts, "Condition: whether the device is managed."),
    choice<&PolicyRuleConfig::compromised>("compromised", kRuleFacts, "Condition: whether it is rooted or jailbroken."),
    choice<&PolicyRuleConfig::encrypted>("encrypted", kRuleFacts, "Condition: whether its storage is encrypted."),
    choice<&PolicyRuleConfig::activesync_profile>("activesync_profile", kRuleFacts,
        "Condition: whether it has the ActiveSync profile of its management."),
    number<&PolicyRuleConfig::inactive_days_over>("inactive_days_over", 0, 32'767, "days",
        "Condition: its management has not heard of it for more days than that. 0: no condition."),
    list<&PolicyRuleConfig::mail_clients>("mail_clients", refuse_text_pattern, "[\"!Boxer*\"]",
        "Condition: the mail client, as the request's User-Agent or else the data names it. In lists of texts `*` stands for any "
        "characters, letter case does not count, and `!` before an item excludes: a list of such items alone matches all others."),
    list<&PolicyRuleConfig::users>("users", refuse_user_pattern, "[\"ceo@example.com\"]",
        "Condition: the account, whole addresses in lower case; `!` excludes. At the gateway the aliases of [[gateway.domain]] count as their domain. No `*`: addresses are known by their hashes."),
    list<&PolicyRuleConfig::device_types>("device_types", refuse_text_pattern, "[\"iPhone\", \"iPad\"]",
        "Condition: the device type, as the ActiveSync request or else the data names it."),
    list<&PolicyRuleConfig::models>("models", refuse_text_pattern, "[\"SM-G9*\"]", "Condition: the model."),
    list<&PolicyRuleConfig::os>("os", refuse_text_pattern, "[\"Android\"]", "Condition: the operating system."),
    text<&PolicyRuleConfig::os_version_below>("os_version_below", refuse_version, "\"17.2\"",
        "Condition: the version of the operating system is below this one; numbers between dots are compared."),
};

inline constexpr KeyRow kPolicySourceKeys[] = {
    text<&PolicySourceConfig::tenant>("tenant", refuse_tenant_id, "\"example\"",
        "Whose devices the source names. None: of the only tenant there is."),
    choice<&PolicySourceConfig::kind>("kind", kPolicySourceKinds,
        "`file`: a file that is read when it changes. `uem`: an endpoint that is asked."),
    path<&PolicySourceConfig::file>("file", KeyKind::path, "\"/var/lib/bellhop/devices.jsonl\"",
        "With kind `file`: all devices of the tenant, as `PUT /v1/compliance` takes them. Write it beside and rename it."),
    text<&PolicySourceConfig::url>("url", refuse_source_url, "\"https://uem.example.com/devices\"",
        "With kind `uem`: what is asked, in the form of [uem](uem.md). Whom to trust there, and which way to take, says an "
        "[[upstream]] that names its host; without one the system's authorities count. Redirects are not followed."),
    path<&PolicySourceConfig::token_file>("token_file", KeyKind::file, "\"/etc/bellhop/uem-token\"",
        "With kind `uem`: file with a token in one line, which each request shows (Bearer); not open to all users. It is read "
        "anew for each try."),
    text<&PolicySourceConfig::username>("username", refuse_username, "\"bellhop\"", "With kind `uem`, instead of a token: Basic."),
    path<&PolicySourceConfig::password_file>("password_file", KeyKind::file, "\"/etc/bellhop/uem-password\"",
        "File with the password of username, as token_file."),
    number<&PolicySourceConfig::interval_seconds>("interval_seconds", 1, 86'400, "seconds",
        "How often the source is looked at; with kind `uem`: asked for what has changed."),
    number<&PolicySourceConfig::bulk_interval_minutes>("bulk_interval_minutes", 1, 100'000, "minutes",
        "With kind `uem`: how often it is asked for all devices. It is at each start, too."),
    number<&PolicySourceConfig::page_timeout_ms>("page_timeout_ms", 100, 600'000, "ms",
        "With kind `uem`: from the request of a page to the end of its answer."),
    number<&PolicySourceConfig::page_bytes_max>("page_bytes_max", 65'536, 268'435'456, "bytes",
        "With kind `uem`: size of one page. It stands in memory as a whole."),
    number<&PolicySourceConfig::retry_first_ms>("retry_first_ms", 100, 3'600'000, "ms",
        "With kind `uem`: how long after a failure it is tried again; twice as long after each further one."),
    number<&PolicySourceConfig::retry_max_ms>("retry_max_ms", 100, 3'600'000, "ms",
        "With kind `uem`: the longest such time. What the source asks for itself (Retry-After) counts where that is longer, up to "
        "this too."),
    number<&PolicySourceConfig::stale_after_minutes>("stale_after_minutes", 0, 100'000, "minutes",
        "How long the last data counts while the source cannot be reached or read. After that nobody is let in who is judged "
        "by it, and requests are answered 503. 0: for ever."),
};

}  // namespace bellhop::service::config_rows
