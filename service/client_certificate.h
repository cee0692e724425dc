// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "core/sync.h"
#include "core/task.h"
#include "core/tls/identity.h"
#include "crypto/record.h"

namespace bellhop::service {

// Puts what is in the PKCS#12 in its place, on the worker thread: that takes up to a second of CPU. `openings`: how many
// may be on their way at once; no permit left: ServiceError::overload. Errors: crypto (pkcs12_*). Not cut short by a stop.
Task<Status> open_certificate(Semaphore& openings, crypto::CertificateCredentials& certificate);

// Views of what a record of type certificate or dual, opened before, logs on with; nothing for other types.
std::optional<TlsIdentity> identity_of(const crypto::CredentialRecord& credentials);

}  // namespace bellhop::service
