// SPDX-License-Identifier: Apache-2.0
#include "tests/kdc/negotiate_fixture.h"

#include <optional>
#include <vector>

namespace bellhop::kdc_test {

using service::GssApi;
using service::KerberosError;
using service::kerberos_error;
using service::load_gss_api;

Result<std::unique_ptr<NegotiateAcceptor>> NegotiateAcceptor::open(const std::string& keytab_file,
                                                                   const std::string& replay_file, std::string& complaint) {
  BH_TRY(const GssApi* api, load_gss_api(complaint));
  std::string keytab = "FILE:" + keytab_file, replay = "file2:" + replay_file;
  gss_key_value_element_desc elements[] = {{"keytab", keytab.c_str()}, {"rcache", replay.c_str()}};
  gss_key_value_set_desc store = {2, elements};
  gss_cred_id_t credential = nullptr;
  OM_uint32 minor = 0;
  OM_uint32 major = api->acquire_cred_from(&minor, GSS_C_NO_NAME, GSS_C_INDEFINITE, GSS_C_NO_OID_SET, GSS_C_ACCEPT, &store,
                                           &credential, nullptr, nullptr);
  if (GSS_ERROR(major)) {
    complaint = keytab_file + ": it holds no key of a service";
    return fail(kerberos_error(KerberosError::keytab, minor));
  }
  return std::unique_ptr<NegotiateAcceptor>(new NegotiateAcceptor(*api, credential));
}

NegotiateAcceptor::~NegotiateAcceptor() {
  OM_uint32 minor = 0;
  api_.release_cred(&minor, &credential_);
}

Result<std::string> NegotiateAcceptor::user_of(std::string_view authorization, Bytes endpoint_hash) {
  constexpr std::string_view kScheme = "Negotiate ";
  std::optional<std::vector<uint8_t>> token;
  if (authorization.starts_with(kScheme)) token = from_base64(authorization.substr(kScheme.size()));
  if (!token) return fail(kerberos_error(KerberosError::protocol));
  gss_buffer_desc in = {token->size(), token->data()};
  std::string application = "tls-server-end-point:" + std::string(as_text(endpoint_hash));
  gss_channel_bindings_struct bindings{};
  bindings.application_data = {application.size(), application.data()};
  gss_ctx_id_t context = GSS_C_NO_CONTEXT;
  gss_name_t name = GSS_C_NO_NAME;
  gss_buffer_desc answer = {}, text = {};
  OM_uint32 minor = 0, ignored = 0;
  OM_uint32 major = api_.accept_sec_context(&minor, &context, credential_, &in,
                                            endpoint_hash.empty() ? GSS_C_NO_CHANNEL_BINDINGS : &bindings, &name, nullptr,
                                            &answer, nullptr, nullptr, nullptr);
  std::string user;
  if (!GSS_ERROR(major) && name && !GSS_ERROR(api_.display_name(&ignored, name, &text, nullptr))) {
    user.assign(static_cast<const char*>(text.value), text.length);
    api_.release_buffer(&ignored, &text);
  }
  if (answer.value) api_.release_buffer(&ignored, &answer);
  if (name) api_.release_name(&ignored, &name);
  if (context) api_.delete_sec_context(&ignored, &context, GSS_C_NO_BUFFER);
  if (user.empty() || major != GSS_S_COMPLETE) return fail(kerberos_error(KerberosError::protocol, minor ? minor : major));
  return user;
}

}  // namespace bellhop::kdc_test
