// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/base/error.h"

namespace bellhop::service {

// Codes of Domain::kerberos. `detail` is the library's own number (a code of krb5, or of GSSAPI), 0 where nothing else is said.
enum class KerberosError : uint16_t {
  // Of our own set-up.
  library_missing = 1,  // libgssapi_krb5.so.2 is not there, or lacks a function
  keytab,               // the keytab cannot be read, or holds no key of the service account
  service_logon,        // the KDC does not let the service account log on: changed password, locked, expired
  clock,                // our clock and the KDC's are too far apart
  realm_unknown,        // krb5.conf and DNS name no KDC of a realm
  // Of the KDC.
  unreachable,          // no KDC of the realm answers
  // Of one user, or one service.
  user_unknown,         // the KDC knows no such user
  user_refused,         // known, and not to be used: locked, expired, or not to be delegated
  name_malformed,       // what the certificate calls the user is no principal's name
  service_unknown,      // the KDC knows no such service (the SPN)
  delegation_refused,   // the service account may not act for users at this service
  // Of this server.
  busy,                 // more requests wait for tickets than requests_waiting_max, or one did for timeout_ms before its turn
  off,                  // [gateway.kerberos] names no keytab
  ticket_expired,       // a ticket that was kept is too old; another one is asked for, so that no caller sees this
  protocol,             // anything else; detail says what the library said
};

inline Error kerberos_error(KerberosError code, uint32_t detail = 0) {
  return {Domain::kerberos, 0, static_cast<uint16_t>(code), detail};
}
inline bool is(const Error& error, KerberosError code) {
  return error.domain == Domain::kerberos && error.code == static_cast<uint16_t>(code);
}

// How a gateway answers a request that got no ticket.
enum class KerberosBlame : uint8_t {
  user,    // 403: this user cannot be logged on this way; asking again soon is of no use
  set_up,  // 502: an administrator must change something here or in the directory
  for_now, // 503 with Retry-After: the KDC does not answer, or too much waits for it
};
// CoreError::timed_out and canceled are for_now.
KerberosBlame blame_of(const Error& error);

// Makes error_text() know Domain::kerberos. Once, at start, before threads.
void register_kerberos_error_texts();

}  // namespace bellhop::service
