// SPDX-License-Identifier: Apache-2.0
#include "service/gss_api.h"

#include <dlfcn.h>
#include <krb5/krb5.h>

#include <cerrno>

#include "core/base/check.h"

namespace bellhop::service {
namespace {

// Object identifiers, DER without tag and length.
constexpr char kKerberos[] = "\x2a\x86\x48\x86\xf7\x12\x01\x02\x02";            // 1.2.840.113554.1.2.2
constexpr char kPrincipalName[] = "\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x01";   // 1.2.840.113554.1.2.2.1
constexpr char kEnterpriseName[] = "\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x06";  // 1.2.840.113554.1.2.2.6
constexpr std::string_view kEndpointPrefix = "tls-server-end-point:";          // RFC 5929 section 4
constexpr OM_uint32 kKeytabHasNoKey = 39'756'033;  // KG_KEYTAB_NOMATCH of MIT's own table, which no header names

template <size_t N>
gss_OID_desc oid(const char (&text)[N]) {
  return {N - 1, const_cast<char*>(text)};
}

gss_buffer_desc buffer_of(std::string_view text) { return {text.size(), const_cast<char*>(text.data())}; }

Duration lifetime_of(OM_uint32 seconds) {
  constexpr OM_uint32 kDay = 24 * 3600;
  return std::chrono::seconds(std::min(seconds, kDay));  // GSS_C_INDEFINITE among them
}

Error account_error(OM_uint32 minor) {
  switch (static_cast<int32_t>(minor)) {
    case ENOENT:
    case EACCES:
    case EISDIR:
    case kKeytabHasNoKey:
    case KRB5_KT_NOTFOUND:
    case KRB5_KEYTAB_BADVNO:
    case KRB5_KT_BADNAME: return kerberos_error(KerberosError::keytab, minor);
    case KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN:
    case KRB5KDC_ERR_NAME_EXP:
    case KRB5KDC_ERR_CLIENT_REVOKED:
    case KRB5KDC_ERR_CLIENT_NOTYET:
    case KRB5KDC_ERR_KEY_EXP:
    case KRB5KDC_ERR_POLICY:
    case KRB5KDC_ERR_PREAUTH_FAILED:
    case KRB5_PREAUTH_FAILED:
    case KRB5KDC_ERR_ETYPE_NOSUPP:
    case KRB5KRB_AP_ERR_BAD_INTEGRITY: return kerberos_error(KerberosError::service_logon, minor);
    default: return kerberos_error(KerberosError::protocol, minor);
  }
}

Error user_error(OM_uint32 minor) {
  switch (static_cast<int32_t>(minor)) {
    case KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN:
    case KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN:  // the realm of the user's name
    case KRB5KDC_ERR_WRONG_REALM: return kerberos_error(KerberosError::user_unknown, minor);
    case KRB5KDC_ERR_NAME_EXP:
    case KRB5KDC_ERR_CLIENT_REVOKED:
    case KRB5KDC_ERR_CLIENT_NOTYET:
    case KRB5KDC_ERR_KEY_EXP:
    case KRB5KDC_ERR_POLICY:
    case KRB5KDC_ERR_BADOPTION: return kerberos_error(KerberosError::user_refused, minor);
    default: return kerberos_error(KerberosError::protocol, minor);
  }
}

Error service_error(OM_uint32 minor) {
  switch (static_cast<int32_t>(minor)) {
    case KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN: return kerberos_error(KerberosError::service_unknown, minor);
    case KRB5KDC_ERR_BADOPTION:
    case KRB5KDC_ERR_POLICY: return kerberos_error(KerberosError::delegation_refused, minor);
    default: return kerberos_error(KerberosError::protocol, minor);
  }
}

template <class F>
bool find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  return function != nullptr;
}

bool fill(void* library, GssApi& api, const char*& missing) {
  return find(library, missing = "gss_import_name", api.import_name) &&
         find(library, missing = "gss_release_name", api.release_name) &&
         find(library, missing = "gss_display_name", api.display_name) &&
         find(library, missing = "gss_acquire_cred_from", api.acquire_cred_from) &&
         find(library, missing = "gss_acquire_cred_impersonate_name", api.acquire_cred_impersonate_name) &&
         find(library, missing = "gss_release_cred", api.release_cred) &&
         find(library, missing = "gss_init_sec_context", api.init_sec_context) &&
         find(library, missing = "gss_accept_sec_context", api.accept_sec_context) &&
         find(library, missing = "gss_delete_sec_context", api.delete_sec_context) &&
         find(library, missing = "gss_release_buffer", api.release_buffer);
}

// Of libkrb5, which comes with it.
struct CacheApi {
  decltype(&::krb5_init_context) init_context = nullptr;
  decltype(&::krb5_free_context) free_context = nullptr;
  decltype(&::krb5_cc_resolve) resolve = nullptr;
  decltype(&::krb5_cc_destroy) destroy = nullptr;

  bool fill(void* library, const char*& missing) {
    return find(library, missing = "krb5_init_context", init_context) &&
           find(library, missing = "krb5_free_context", free_context) &&
           find(library, missing = "krb5_cc_resolve", resolve) && find(library, missing = "krb5_cc_destroy", destroy);
  }
};
CacheApi cache_api;

void destroy_cache(const char* name) {
  krb5_context context = nullptr;
  krb5_ccache cache = nullptr;
  if (cache_api.init_context(&context) != 0) return;
  if (cache_api.resolve(context, name, &cache) == 0) cache_api.destroy(context, cache);
  cache_api.free_context(context);
}

struct Loaded {
  GssApi api;
  std::string complaint;  // empty: it is there
};

Loaded load() {
  Loaded out;
  // Never closed: the library keeps threads' data of its own. Its symbols stay its own, and so do those of OpenSSL.
  void* library = dlopen(kGssLibrary, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* why = dlerror();
    out.complaint = std::string(why ? why : kGssLibrary) + "; install libgssapi-krb5-2";
    return out;
  }
  const char* missing = nullptr;
  out.api.destroy_cache = destroy_cache;
  if (!fill(library, out.api, missing) || !cache_api.fill(library, missing)) {
    out.complaint = std::string(kGssLibrary) + " has no " + missing + "; MIT Kerberos 1.11 or later is needed";
  }
  return out;
}

}  // namespace

Result<const GssApi*> load_gss_api(std::string& complaint) {
  static const Loaded loaded = load();
  if (loaded.complaint.empty()) return &loaded.api;
  complaint = loaded.complaint;
  return fail(kerberos_error(KerberosError::library_missing));
}

Error gss_error(GssStep step, OM_uint32 major, OM_uint32 minor) {
  switch (static_cast<int32_t>(minor)) {
    case KRB5_KDC_UNREACH:
    case KRB5_REALM_CANT_RESOLVE: return kerberos_error(KerberosError::unreachable, minor);
    case KRB5_REALM_UNKNOWN: return kerberos_error(KerberosError::realm_unknown, minor);
    case KRB5KRB_AP_ERR_SKEW:
    case KRB5_KDCREP_SKEW: return kerberos_error(KerberosError::clock, minor);
    case KRB5KRB_AP_ERR_TKT_EXPIRED:
      return kerberos_error(step == GssStep::account ? KerberosError::clock : KerberosError::ticket_expired, minor);
    default: break;
  }
  if (GSS_ROUTINE_ERROR(major) == GSS_S_CREDENTIALS_EXPIRED) return kerberos_error(KerberosError::ticket_expired, minor);
  Error error;
  switch (step) {
    case GssStep::account: error = account_error(minor); break;
    case GssStep::user: error = user_error(minor); break;
    case GssStep::service: error = service_error(minor); break;
  }
  if (is(error, KerberosError::protocol) && minor == 0) error.detail = major;
  return error;
}

Result<GssName> GssName::import(const GssApi& api, std::string_view text, GssNameKind kind) {
  gss_OID_desc type = kind == GssNameKind::enterprise ? oid(kEnterpriseName) : oid(kPrincipalName);
  gss_buffer_desc in = buffer_of(text);
  gss_name_t name = nullptr;
  OM_uint32 minor = 0;
  OM_uint32 major = api.import_name(&minor, &in, &type, &name);
  if (GSS_ERROR(major)) return fail(kerberos_error(KerberosError::name_malformed, minor));
  return GssName(api, name);
}

GssName::~GssName() {
  OM_uint32 minor = 0;
  if (name_) api_->release_name(&minor, &name_);
}

Result<std::shared_ptr<GssCredential>> GssCredential::of_account(const GssApi& api, const std::string& keytab_file,
                                                                 const std::string& principal,
                                                                 const std::string& cache_name) {
  BH_TRY(const GssName name, GssName::import(api, principal, GssNameKind::principal));
  std::string keytab = "FILE:" + keytab_file, cache = "MEMORY:" + cache_name;
  gss_key_value_element_desc elements[] = {
      {"client_keytab", keytab.c_str()}, {"keytab", keytab.c_str()}, {"ccache", cache.c_str()}};
  gss_key_value_set_desc store = {3, elements};
  gss_OID_desc mechanism = oid(kKerberos);
  gss_OID_set_desc mechanisms = {1, &mechanism};
  gss_cred_id_t credential = nullptr;
  OM_uint32 minor = 0, seconds = 0;
  OM_uint32 major = api.acquire_cred_from(&minor, name.get(), GSS_C_INDEFINITE, &mechanisms, GSS_C_BOTH, &store,
                                          &credential, nullptr, &seconds);
  if (GSS_ERROR(major)) {
    api.destroy_cache(cache.c_str());
    return fail(gss_error(GssStep::account, major, minor));
  }
  return std::shared_ptr<GssCredential>(new GssCredential(api, credential, std::move(cache), lifetime_of(seconds)));
}

Result<std::shared_ptr<GssCredential>> GssCredential::of_user(const GssApi& api, const GssCredential& account,
                                                              std::string_view user, GssNameKind kind) {
  BH_TRY(const GssName name, GssName::import(api, user, kind));
  gss_OID_desc mechanism = oid(kKerberos);
  gss_OID_set_desc mechanisms = {1, &mechanism};
  gss_cred_id_t credential = nullptr;
  OM_uint32 minor = 0, seconds = 0;
  OM_uint32 major = api.acquire_cred_impersonate_name(&minor, account.credential_, name.get(), GSS_C_INDEFINITE,
                                                      &mechanisms, GSS_C_INITIATE, &credential, nullptr, &seconds);
  if (GSS_ERROR(major)) return fail(gss_error(GssStep::user, major, minor));
  return std::shared_ptr<GssCredential>(new GssCredential(api, credential, {}, lifetime_of(seconds)));
}

GssCredential::~GssCredential() {
  OM_uint32 minor = 0;
  api_.release_cred(&minor, &credential_);
  if (!cache_.empty()) api_.destroy_cache(cache_.c_str());
}

Result<GssCredential::Token> GssCredential::token_for(std::string_view service, Bytes endpoint_hash) const {
  BH_TRY(const GssName name, GssName::import(api_, service, GssNameKind::principal));
  std::string application(kEndpointPrefix);
  application += as_text(endpoint_hash);
  gss_channel_bindings_struct bindings{};
  bindings.application_data = buffer_of(application);
  gss_OID_desc mechanism = oid(kKerberos);
  gss_ctx_id_t context = nullptr;
  gss_buffer_desc token = {};
  OM_uint32 minor = 0, ignored = 0, seconds = 0;
  // No mutual authentication: TLS has shown who the server is, and its answer would come too late to matter.
  OM_uint32 major = api_.init_sec_context(&minor, credential_, &context, name.get(), &mechanism, 0, 0,
                                          endpoint_hash.empty() ? GSS_C_NO_CHANNEL_BINDINGS : &bindings,
                                          GSS_C_NO_BUFFER, nullptr, &token, nullptr, &seconds);
  Token out{.bytes = {}, .lifetime = lifetime_of(seconds)};
  if (token.value) {
    const auto* bytes = static_cast<const uint8_t*>(token.value);
    out.bytes.assign(bytes, bytes + token.length);
    wipe(token.value, token.length);
    api_.release_buffer(&ignored, &token);
  }
  if (context) api_.delete_sec_context(&ignored, &context, GSS_C_NO_BUFFER);
  if (GSS_ERROR(major)) {
    wipe(out.bytes);
    return fail(gss_error(GssStep::service, major, minor));
  }
  if (out.bytes.empty()) return fail(kerberos_error(KerberosError::protocol, major));
  return out;
}

}  // namespace bellhop::service
