// SPDX-License-Identifier: Apache-2.0
#include "tests/kerberos/fake_gss_fixture.h"

#include "core/base/bytes.h"
#include "core/base/check.h"

namespace bellhop::kerberos_test {
namespace {

FakeKdc* kdc = nullptr;

struct Name {
  std::string text;
  bool enterprise = false;
};
struct Credential {
  std::string user;  // empty: the account
  std::set<std::string> services;
};

Name* name_of(gss_name_t name) { return reinterpret_cast<Name*>(name); }
Credential* credential_of(gss_cred_id_t credential) { return reinterpret_cast<Credential*>(credential); }

OM_uint32 import_name(OM_uint32* minor, gss_buffer_t in, gss_OID type, gss_name_t* out) {
  *minor = 0;
  std::lock_guard lock(kdc->mutex);
  if (in->length == 0) return GSS_S_BAD_NAME;
  bool enterprise = static_cast<const char*>(type->elements)[type->length - 1] == 6;
  *out = reinterpret_cast<gss_name_t>(new Name{std::string(static_cast<const char*>(in->value), in->length), enterprise});
  ++kdc->live_names;
  return GSS_S_COMPLETE;
}

OM_uint32 release_name(OM_uint32*, gss_name_t* name) {
  delete name_of(*name);
  *name = nullptr;
  std::lock_guard lock(kdc->mutex);
  --kdc->live_names;
  return GSS_S_COMPLETE;
}

OM_uint32 refuse(OM_uint32* minor, uint32_t code, OM_uint32 major = GSS_S_FAILURE) {
  *minor = code;
  return major;
}

OM_uint32 acquire_cred_from(OM_uint32* minor, gss_name_t, OM_uint32, gss_OID_set, gss_cred_usage_t usage,
                            gss_const_key_value_set_t store, gss_cred_id_t* out, gss_OID_set*, OM_uint32* seconds) {
  std::lock_guard lock(kdc->mutex);
  BH_CHECK(usage == GSS_C_BOTH);
  for (OM_uint32 i = 0; i < store->count; ++i) {
    std::string_view key = store->elements[i].key;
    if (key == "client_keytab") kdc->keytabs.push_back(store->elements[i].value);
    if (key == "ccache") kdc->caches.insert(store->elements[i].value);
  }
  if (kdc->dead) return refuse(minor, kUnreachable, GSS_S_NO_CRED);
  if (kdc->account_refusal != 0) return refuse(minor, kdc->account_refusal, GSS_S_NO_CRED);
  ++kdc->accounts;
  ++kdc->live_credentials;
  *out = reinterpret_cast<gss_cred_id_t>(new Credential);
  *seconds = kdc->lifetime_seconds;
  return GSS_S_COMPLETE;
}

OM_uint32 acquire_cred_impersonate_name(OM_uint32* minor, const gss_cred_id_t account, const gss_name_t name, OM_uint32,
                                        const gss_OID_set, gss_cred_usage_t, gss_cred_id_t* out, gss_OID_set*,
                                        OM_uint32* seconds) {
  std::function<void()> hook;
  {
    std::lock_guard lock(kdc->mutex);
    hook = kdc->on_user;
  }
  if (hook) hook();
  std::lock_guard lock(kdc->mutex);
  kdc->before_account += account == nullptr;
  const Name& user = *name_of(name);
  kdc->asked_users.push_back((user.enterprise ? "enterprise:" : "principal:") + user.text);
  if (kdc->dead) return refuse(minor, kUnreachable);
  if (auto found = kdc->refusals.find(user.text); found != kdc->refusals.end()) return refuse(minor, found->second);
  if (!kdc->users.contains(user.text)) return refuse(minor, kUserUnknown);
  ++kdc->user_tickets;
  ++kdc->live_credentials;
  *out = reinterpret_cast<gss_cred_id_t>(new Credential{user.text, {}});
  *seconds = kdc->lifetime_seconds;
  return GSS_S_COMPLETE;
}

OM_uint32 release_cred(OM_uint32*, gss_cred_id_t* credential) {
  delete credential_of(*credential);
  *credential = nullptr;
  std::lock_guard lock(kdc->mutex);
  --kdc->live_credentials;
  return GSS_S_COMPLETE;
}

OM_uint32 init_sec_context(OM_uint32* minor, gss_cred_id_t credential, gss_ctx_id_t* context, gss_name_t name, gss_OID,
                           OM_uint32, OM_uint32, gss_channel_bindings_t bindings, gss_buffer_t, gss_OID*, gss_buffer_t token,
                           OM_uint32*, OM_uint32* seconds) {
  std::lock_guard lock(kdc->mutex);
  Credential& user = *credential_of(credential);
  const std::string& service = name_of(name)->text;
  if (kdc->expired_tokens > 0) {
    --kdc->expired_tokens;
    return refuse(minor, kExpired);
  }
  if (!user.services.contains(service)) {
    if (kdc->dead) return refuse(minor, kUnreachable);
    if (kdc->service_refusal != 0) return refuse(minor, kdc->service_refusal);
    if (!kdc->services.contains(service)) return refuse(minor, kServiceUnknown);
    ++kdc->service_tickets;
    user.services.insert(service);
  }
  if (bindings) {
    kdc->bindings.emplace_back(static_cast<const char*>(bindings->application_data.value), bindings->application_data.length);
  }
  std::string text = user.user + " " + service + " " + std::to_string(++kdc->tokens);
  token->value = malloc(text.size());
  token->length = text.size();
  memcpy(token->value, text.data(), text.size());
  *context = reinterpret_cast<gss_ctx_id_t>(new int);
  ++kdc->live_contexts;
  *seconds = kdc->lifetime_seconds;
  return GSS_S_COMPLETE;
}

OM_uint32 delete_sec_context(OM_uint32*, gss_ctx_id_t* context, gss_buffer_t) {
  delete reinterpret_cast<int*>(*context);
  *context = nullptr;
  std::lock_guard lock(kdc->mutex);
  --kdc->live_contexts;
  return GSS_S_COMPLETE;
}

void destroy_cache(const char* name) {
  std::lock_guard lock(kdc->mutex);
  BH_CHECK(kdc->caches.erase(name) == 1);
}

OM_uint32 release_buffer(OM_uint32*, gss_buffer_t buffer) {
  free(buffer->value);
  *buffer = {};
  return GSS_S_COMPLETE;
}

}  // namespace

FakeKdc::FakeKdc() {
  BH_CHECK(kdc == nullptr);
  kdc = this;
  api_.import_name = import_name;
  api_.release_name = release_name;
  api_.acquire_cred_from = acquire_cred_from;
  api_.acquire_cred_impersonate_name = acquire_cred_impersonate_name;
  api_.release_cred = release_cred;
  api_.init_sec_context = init_sec_context;
  api_.delete_sec_context = delete_sec_context;
  api_.release_buffer = release_buffer;
  api_.destroy_cache = destroy_cache;
}

FakeKdc::~FakeKdc() { kdc = nullptr; }

KerberosConfig config_for_tests() {
  KerberosConfig config;
  config.keytab_file = "/etc/bellhop/kcd.keytab";
  config.principal = "bellhop@EXAMPLE.COM";
  config.user_names = KerberosNames::principal;
  return config;
}

KerberosRequest request_for(std::string user) {
  return {.user = std::move(user), .service = "HTTP/mail.example.com", .principal = {}, .endpoint_hash = {}};
}

std::string token_text(const crypto::Secret& header) {
  std::string_view text = header.reveal_text();
  if (!text.starts_with("Negotiate ")) return "?";
  auto bytes = from_base64(text.substr(10));
  if (!bytes) return "?";
  std::string_view token = as_text(*bytes);
  size_t begin = token.find("\x04");  // the last OCTET STRING: its length is below 128 in these tests
  for (size_t at = begin; at != std::string_view::npos; at = token.find("\x04", at + 1)) {
    if (at + 2 + static_cast<uint8_t>(token[at + 1]) == token.size()) return std::string(token.substr(at + 2));
  }
  return "?";
}

bool failed_with(const Result<crypto::Secret>& result, KerberosError code) { return !result && is(result.error(), code); }

}  // namespace bellhop::kerberos_test
