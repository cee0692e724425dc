// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include "core/io.h"

namespace bellhop::uring {

// Fills `storage`; returns the size in use. A unix path that is too long was refused before (open_socket).
socklen_t to_sockaddr(const io::Endpoint& endpoint, sockaddr_storage& storage);
SocketAddress from_sockaddr(const sockaddr_storage& storage);  // all zero for a unix socket

}  // namespace bellhop::uring
