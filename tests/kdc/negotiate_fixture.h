// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "service/gss_api.h"

namespace bellhop::kdc_test {

// What a web server of Windows does with "Authorization: Negotiate …": opens the ticket with the key of its keytab and so
// learns who the user is, refuses what it saw before, and looks at the channel binding. Asks no KDC; a call takes well below a
// millisecond. One thread at a time.
class NegotiateAcceptor {
 public:
  // `replay_file`: where it notes what it has seen; made by the library. Errors: kerberos, with a `complaint`.
  static Result<std::unique_ptr<NegotiateAcceptor>> open(const std::string& keytab_file, const std::string& replay_file,
                                                         std::string& complaint);
  ~NegotiateAcceptor();
  NegotiateAcceptor(const NegotiateAcceptor&) = delete;
  NegotiateAcceptor& operator=(const NegotiateAcceptor&) = delete;

  // The user, "alice@EXAMPLE.COM", of a header's value. `endpoint_hash`: of the certificate that the client saw; a ticket that
  // names another one is refused, one that names none is not. Errors: kerberos (protocol; detail: the library's code).
  Result<std::string> user_of(std::string_view authorization, Bytes endpoint_hash = {});

 private:
  NegotiateAcceptor(const service::GssApi& api, gss_cred_id_t credential) : api_(api), credential_(credential) {}
  const service::GssApi& api_;
  gss_cred_id_t credential_;
};

}  // namespace bellhop::kdc_test
