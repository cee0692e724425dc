// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gssapi/gssapi.h>
#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/time.h"
#include "service/kerberos_error.h"

namespace bellhop::service {

// The functions of MIT's libgssapi-krb5 that we call. It is loaded when it is configured and not linked: it brings OpenSSL
// into the process, which who has no Kerberos should not have. Every function may wait for a KDC, so they run on errand threads
// only, but release_* and display_*.
struct GssApi {
  decltype(&::gss_import_name) import_name = nullptr;
  decltype(&::gss_release_name) release_name = nullptr;
  decltype(&::gss_display_name) display_name = nullptr;
  decltype(&::gss_acquire_cred_from) acquire_cred_from = nullptr;
  decltype(&::gss_acquire_cred_impersonate_name) acquire_cred_impersonate_name = nullptr;
  decltype(&::gss_release_cred) release_cred = nullptr;
  decltype(&::gss_init_sec_context) init_sec_context = nullptr;
  decltype(&::gss_accept_sec_context) accept_sec_context = nullptr;
  decltype(&::gss_delete_sec_context) delete_sec_context = nullptr;
  decltype(&::gss_release_buffer) release_buffer = nullptr;
  // Frees tickets in memory, by the name of their cache: the library keeps those that it was given a name for.
  void (*destroy_cache)(const char* name) = nullptr;
};

inline constexpr const char* kGssLibrary = "libgssapi_krb5.so.2";

// Once per process; the same table again for who asks again. Blocking. Errors: library_missing, with a `complaint`.
Result<const GssApi*> load_gss_api(std::string& complaint);

// What was asked when the library said no.
enum class GssStep : uint8_t { account, user, service };
// One of KerberosError, with the library's minor code as detail.
Error gss_error(GssStep step, OM_uint32 major, OM_uint32 minor);

// What a credential is to act as.
enum class GssNameKind : uint8_t { principal, enterprise };

// A name of the library's.
class GssName {
 public:
  // Errors: name_malformed.
  static Result<GssName> import(const GssApi& api, std::string_view text, GssNameKind kind);
  GssName(GssName&& other) noexcept : api_(other.api_), name_(std::exchange(other.name_, nullptr)) {}
  GssName& operator=(GssName&&) = delete;
  ~GssName();
  gss_name_t get() const { return name_; }

 private:
  GssName(const GssApi& api, gss_name_t name) : api_(&api), name_(name) {}
  const GssApi* api_;
  gss_name_t name_;
};

// Tickets of one identity. The library locks what it keeps in it, so that threads may share one.
class GssCredential {
 public:
  // The service account's: its key from the keytab, its tickets in memory under `cache_name`. Asks the KDC. Errors: as
  // gss_error(account).
  static Result<std::shared_ptr<GssCredential>> of_account(const GssApi& api, const std::string& keytab_file,
                                                           const std::string& principal, const std::string& cache_name);
  // A user's, got by the account without the user's key (S4U2Self). Asks the KDC. Errors: name_malformed, gss_error(user).
  static Result<std::shared_ptr<GssCredential>> of_user(const GssApi& api, const GssCredential& account,
                                                        std::string_view user, GssNameKind kind);
  ~GssCredential();
  GssCredential(const GssCredential&) = delete;
  GssCredential& operator=(const GssCredential&) = delete;

  // How long it is good, from when it was made.
  Duration lifetime() const { return lifetime_; }

  struct Token {
    std::vector<uint8_t> bytes;  // to be wiped
    Duration lifetime{};         // of the ticket for the service
  };
  // The first token for a service: raw Kerberos, no SPNEGO. The first time it asks the KDC (S4U2Proxy), then the ticket is
  // in the credential. Errors: name_malformed, gss_error(service).
  Result<Token> token_for(std::string_view service, Bytes endpoint_hash) const;

 private:
  GssCredential(const GssApi& api, gss_cred_id_t credential, std::string cache, Duration lifetime)
      : api_(api), credential_(credential), cache_(std::move(cache)), lifetime_(lifetime) {}
  const GssApi& api_;
  gss_cred_id_t credential_;
  const std::string cache_;  // of an account; a user's goes with its credential
  const Duration lifetime_;
};

}  // namespace bellhop::service
