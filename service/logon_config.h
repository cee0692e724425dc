// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

// How the gateway logs users on by certificate and Kerberos: plain values, as in config.h.
namespace bellhop::service {

// Whether users may, or must, show a certificate in the TLS handshake.
enum class CertificateLogon : uint8_t { none, optional, required };
// How a user is named to the KDC: by the whole userPrincipalName, for the directory to resolve, or as user@REALM.
enum class KerberosNames : uint8_t { enterprise, principal };
// What a ticket says of the TLS connection that it is sent over: nothing, or the server's certificate (RFC 5929).
enum class KerberosBinding : uint8_t { none, endpoint };

// [gateway.certificates]
struct CertificatesConfig {
  CertificateLogon logon = CertificateLogon::none;
  std::string ca_file;   // PEM; with logon
  std::string crl_file;  // PEM or DER; empty: revocation is not asked
  uint32_t crl_stale_hours_max = 0;
  std::vector<std::string> user_domains;  // with logon
  bool mail_address = false;  // where a certificate has no UPN

  bool on() const { return logon != CertificateLogon::none; }
  friend bool operator==(const CertificatesConfig&, const CertificatesConfig&) = default;
};

// [gateway.kerberos]: constrained delegation. Off without a keytab.
struct KerberosConfig {
  std::string keytab_file;
  std::string principal;    // "svc-bellhop@CORP.EXAMPLE.COM"; with keytab_file
  std::vector<std::string> kdcs;  // "CORP.EXAMPLE.COM=dc1.corp.example.com:88"; empty: krb5.conf and DNS
  std::string config_file;  // krb5.conf; empty: the system's
  KerberosNames user_names = KerberosNames::enterprise;
  std::vector<std::string> realms;    // "example.com=CORP.EXAMPLE.COM"
  KerberosBinding channel_binding = KerberosBinding::none;
  uint32_t timeout_ms = 10'000;
  uint32_t requests_waiting_max = 1'024;
  uint32_t users_kept_max = 5'000;
  uint32_t tickets_kept_minutes = 60;
  uint32_t refusals_kept_seconds = 30;
  uint32_t unreachable_seconds = 10;

  bool on() const { return !keytab_file.empty(); }
  friend bool operator==(const KerberosConfig&, const KerberosConfig&) = default;
};

}  // namespace bellhop::service
