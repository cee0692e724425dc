// SPDX-License-Identifier: Apache-2.0
// What devices send as credentials, before and after decryption, and tokens that a peer signs.
#include "crypto/envelope.h"
#include "crypto/jose.h"
#include "crypto/record.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::crypto;

BELLHOP_FUZZ_TARGET(input) {
  std::string_view text = as_text(input);
  if (Result<JweParsed> jwe = parse_jwe_compact(text)) {
    BH_CHECK(!jwe->encrypted_key.empty() && text.starts_with(jwe->associated_data));
    BH_CHECK(!jwe_open(*jwe, Secret::of_size(32)));  // nobody guesses the tag
  }
  (void)parse_jwt(text);
  if (auto bytes = from_base64url(text)) BH_CHECK(to_base64url(*bytes) == text);
  if (auto bytes = from_base64(text)) BH_CHECK(to_base64(*bytes) == text);

  Secret secret = Secret::copy_of(input);
  RecordExpectation expected{.user_id = user_id_of_address("user1@example.com"),
                             .device_id = "phone1",
                             .now = WallTime() + std::chrono::hours(500'000),
                             .types = {CredentialType::basic, CredentialType::oauth, CredentialType::certificate,
                                       CredentialType::dual}};
  (void)read_credential_record(secret, expected);
  (void)read_ens2_credentials(secret);
  if (Result<CredentialRecord> record = unpack_record(secret)) {
    Result<Secret> packed = pack_record(*record, 64 * 1024);
    BH_CHECK(packed && packed->equals(input));  // one form each
  }
}
