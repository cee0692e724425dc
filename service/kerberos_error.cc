// SPDX-License-Identifier: Apache-2.0
#include "service/kerberos_error.h"

#include <krb5/krb5.h>

namespace bellhop::service {
namespace {

// The library's codes that administrators meet, in its own words, so that a search finds them.
const char* minor_text(uint32_t detail) {
  switch (static_cast<int32_t>(detail)) {
    case KRB5KDC_ERR_NAME_EXP: return "KDC_ERR_NAME_EXP";
    case KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN: return "KDC_ERR_C_PRINCIPAL_UNKNOWN";
    case KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN: return "KDC_ERR_S_PRINCIPAL_UNKNOWN";
    case KRB5KDC_ERR_POLICY: return "KDC_ERR_POLICY";
    case KRB5KDC_ERR_BADOPTION: return "KDC_ERR_BADOPTION";
    case KRB5KDC_ERR_ETYPE_NOSUPP: return "KDC_ERR_ETYPE_NOSUPP";
    case KRB5KDC_ERR_CLIENT_REVOKED: return "KDC_ERR_CLIENT_REVOKED";
    case KRB5KDC_ERR_CLIENT_NOTYET: return "KDC_ERR_CLIENT_NOTYET";
    case KRB5KDC_ERR_KEY_EXP: return "KDC_ERR_KEY_EXPIRED";
    case KRB5KDC_ERR_PREAUTH_FAILED: return "KDC_ERR_PREAUTH_FAILED";
    case KRB5_PREAUTH_FAILED: return "pre-authentication failed";
    case KRB5KDC_ERR_WRONG_REALM: return "KDC_ERR_WRONG_REALM";
    case KRB5KRB_AP_ERR_SKEW: return "KRB_AP_ERR_SKEW";
    case KRB5_KDC_UNREACH: return "KRB5_KDC_UNREACH";
    case KRB5_REALM_UNKNOWN: return "KRB5_REALM_UNKNOWN";
    case KRB5_REALM_CANT_RESOLVE: return "KRB5_REALM_CANT_RESOLVE";
    default: return nullptr;
  }
}

const char* phrase_of(KerberosError code) {
  switch (code) {
    case KerberosError::library_missing: return "libgssapi_krb5.so.2 cannot be used";
    case KerberosError::keytab: return "the keytab cannot be read or has no key of the service account";
    case KerberosError::service_logon:
      return "the KDC does not let the service account log on (password changed since the keytab was made, account locked or expired)";
    case KerberosError::clock: return "our clock and the KDC's are too far apart";
    case KerberosError::realm_unknown: return "no KDC is known for the realm (krb5.conf [realms], DNS SRV)";
    case KerberosError::unreachable: return "no KDC of the realm answers";
    case KerberosError::user_unknown: return "the KDC does not know the user";
    case KerberosError::user_refused: return "the KDC refuses the user (locked, expired, or by policy)";
    case KerberosError::name_malformed: return "the user's name is no principal's name";
    case KerberosError::service_unknown: return "the KDC does not know the service (SPN)";
    case KerberosError::delegation_refused:
      return "the service account may not act for this user at this service (SPN not in msDS-AllowedToDelegateTo, protocol "
             "transition not allowed, or the user is sensitive or protected)";
    case KerberosError::busy: return "too many requests wait for tickets";
    case KerberosError::off: return "[gateway.kerberos] names no keytab";
    case KerberosError::ticket_expired: return "a ticket has expired";
    case KerberosError::protocol: return "Kerberos failed";
  }
  return nullptr;
}

std::string kerberos_error_text(uint16_t code, uint32_t detail) {
  const char* phrase = phrase_of(static_cast<KerberosError>(code));
  std::string text = phrase ? phrase : "code " + std::to_string(code);
  if (detail == 0) return text;
  const char* minor = minor_text(detail);
  return text + ": " + (minor ? std::string(minor) : "code " + std::to_string(static_cast<int32_t>(detail)));
}

}  // namespace

KerberosBlame blame_of(const Error& error) {
  if (error.domain != Domain::kerberos) return KerberosBlame::for_now;
  switch (static_cast<KerberosError>(error.code)) {
    case KerberosError::user_unknown:
    case KerberosError::user_refused:
    case KerberosError::name_malformed: return KerberosBlame::user;
    case KerberosError::unreachable:
    case KerberosError::ticket_expired:
    case KerberosError::busy: return KerberosBlame::for_now;
    case KerberosError::library_missing:
    case KerberosError::keytab:
    case KerberosError::service_logon:
    case KerberosError::clock:
    case KerberosError::realm_unknown:
    case KerberosError::service_unknown:
    case KerberosError::delegation_refused:
    case KerberosError::off:
    case KerberosError::protocol: return KerberosBlame::set_up;
  }
  return KerberosBlame::set_up;
}

void register_kerberos_error_texts() { register_error_text(Domain::kerberos, "kerberos", kerberos_error_text); }

}  // namespace bellhop::service
