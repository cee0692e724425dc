// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "service/config_rows.h"

// The rows of [gateway.certificates] and [gateway.kerberos]. Included by config_table.cc alone.
namespace bellhop::service::config_rows {

inline constexpr std::string_view kCertificateLogons[] = {"none", "optional", "required"};
inline constexpr std::string_view kKerberosNameForms[] = {"enterprise", "principal"};
inline constexpr std::string_view kKerberosBindings[] = {"none", "endpoint"};

inline constexpr KeyRow kCertificatesKeys[] = {
    choice<&CertificatesConfig::logon>("logon", kCertificateLogons,
        "`none`: clients are not asked for certificates. `optional`: who shows a good one may log on by it, who shows none by Basic or "
        "Bearer. `required`: who shows none gets no connection."),
    path<&CertificatesConfig::ca_file>("ca_file", KeyKind::file, "\"/etc/bellhop/users-ca.pem\"",
        "PEM with the authorities that users' certificates come from; these only, never the system's. With logon."),
    path<&CertificatesConfig::crl_file>("crl_file", KeyKind::file, "\"/etc/bellhop/users.crl\"",
        "Revocation lists of these authorities, PEM or DER. A certificate whose issuer has no list in it is refused. None: revocation "
        "is not asked."),
    number<&CertificatesConfig::crl_stale_hours_max>("crl_stale_hours_max", 0, 720, "hours",
        "How long after its `next update` a list is still believed. Then nobody logs on by certificate (503)."),
    list<&CertificatesConfig::user_domains>("user_domains", refuse_domain, "[\"example.com\"]",
        "Domains of the user principal names that may log on by certificate. With logon."),
    boolean<&CertificatesConfig::mail_address>("mail_address",
        "A certificate without a user principal name may name its user by an e-mail address (rfc822Name). Only where the authority "
        "verifies these addresses, and they are UPNs."),
};

inline constexpr KeyRow kKerberosKeys[] = {
    path<&KerberosConfig::keytab_file>("keytab_file", KeyKind::file, "\"/etc/bellhop/kcd.keytab\"",
        "The key of the service account that may act for users (constrained delegation). Mode 0400. None: no endpoint can have logon = "
        "\"kerberos\"."),
    text<&KerberosConfig::principal>("principal", refuse_principal, "\"svc-bellhop@CORP.EXAMPLE.COM\"",
        "The service account, as in the keytab, with its realm. With keytab_file."),
    list<&KerberosConfig::kdcs>("kdcs", refuse_kdc, "[\"CORP.EXAMPLE.COM=dc1.corp.example.com\"]",
        "KDCs by realm, each with a port where it is not 88. With this DNS is not asked for others. None: what krb5.conf says, and SRV "
        "records."),
    path<&KerberosConfig::config_file>("config_file", KeyKind::file, "\"/etc/bellhop/krb5.conf\"",
        "A krb5.conf. What delegation needs is set before it and cannot be undone by it. None: the system's."),
    choice<&KerberosConfig::user_names>("user_names", kKerberosNameForms,
        "How a user is named to the KDC. `enterprise`: the whole user principal name, which Active Directory resolves whatever its suffix. "
        "`principal`: user@REALM, the realm being the domain in capitals, or what `realms` says."),
    list<&KerberosConfig::realms>("realms", refuse_realm_of_domain, "[\"example.com=CORP.EXAMPLE.COM\"]",
        "The realms of domains, for user_names = \"principal\"."),
    choice<&KerberosConfig::channel_binding>("channel_binding", kKerberosBindings,
        "`endpoint`: a ticket names the certificate of the server that it is sent to, as Extended Protection \"Require\" demands; the "
        "gateway's TLS must end at Exchange itself. `none`: it names none, as \"Allow\" accepts."),
    number<&KerberosConfig::timeout_ms>("timeout_ms", 100, 120'000, "ms",
        "How long a request waits for its ticket; then it is answered 503."),
    number<&KerberosConfig::requests_waiting_max>("requests_waiting_max", 1, 1'000'000, "",
        "Requests that wait for tickets at the same time, all cores together; more are answered 503."),
    number<&KerberosConfig::users_kept_max>("users_kept_max", 1, 10'000'000, "",
        "Users whose tickets are kept, in memory only; 16 KiB each and more, as their groups are many."),
    number<&KerberosConfig::tickets_kept_minutes>("tickets_kept_minutes", 1, 600, "minutes",
        "How long a user's tickets are used before the KDC is asked again: so long an account that was locked may still come in."),
    number<&KerberosConfig::refusals_kept_seconds>("refusals_kept_seconds", 0, 3'600, "seconds",
        "How long a user whom the KDC refused is refused without asking it."),
    number<&KerberosConfig::unreachable_seconds>("unreachable_seconds", 0, 600, "seconds",
        "How long a realm whose KDCs do not answer is left alone. Users whose tickets are kept come in meanwhile."),
};

}  // namespace bellhop::service::config_rows
