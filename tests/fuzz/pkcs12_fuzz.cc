// SPDX-License-Identifier: Apache-2.0
// PKCS#12 files of devices. Whatever is in one, its cost is known before it is paid, and what is opened can be made anew.
#include "crypto/error.h"
#include "crypto/pkcs12.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::crypto;

BELLHOP_FUZZ_TARGET(input) {
  constexpr std::string_view kPassword = "secret";
  const WallTime now{std::chrono::sys_days(std::chrono::year(2030) / 6 / 1)};
  Result<uint64_t> iterations = count_pkcs12_iterations(input);
  if (iterations) BH_CHECK(*iterations >= 1 && *iterations <= kPkcs12IterationsMax);
  // Some do ask for a second of CPU; those are not what is looked for here.
  constexpr uint64_t kIterationsHere = 10'000;
  if (iterations && *iterations > kIterationsHere) return;
  Result<ClientCertificate> opened = open_pkcs12(input, kPassword, now);
  if (!iterations) BH_CHECK(!opened && opened.error() == iterations.error());
  if (!opened) {
    BH_CHECK(opened.error().domain == Domain::crypto && opened.error().code >= uint16_t(CryptoError::pkcs12_malformed));
    return;
  }
  Result<Secret> made = make_pkcs12(*opened, kPassword);
  BH_CHECK(made);
  Result<ClientCertificate> again = open_pkcs12(made->reveal(), kPassword, now);
  if (!again) {
    // The older form is longer: it may not fit into the bound.
    BH_CHECK(is(again.error(), CryptoError::pkcs12_too_large));
    return;
  }
  BH_CHECK(again->private_key.equals(opened->private_key.reveal()) && again->chain.equals(opened->chain.reveal()));
}
