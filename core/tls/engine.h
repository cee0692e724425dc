// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/tls/byte_queue.h"
#include "core/tls/context.h"
#include "core/tls/identity.h"

struct ssl_st;

namespace bellhop {

enum class TlsState : uint8_t {
  want_input,   // in the handshake: needs more ciphertext
  want_output,  // in the handshake: the output is full; send it, then advance again
  open,         // handshake done; read and write
  closed,       // the peer sent close_notify: nothing more to read. Writing goes on until close()
  failed,       // see error(); a last alert may be in the output
};
const char* to_text(TlsState state);

enum class TlsVersion : uint8_t { none, v1_2, v1_3 };

// One TLS connection as a machine over memory: no socket, no clock of its own, no coroutine.
//
//   ciphertext from the peer ──feed()──▶ engine ──read()──▶ plaintext
//   plaintext ──write()──▶ engine ──output(), consume_output()──▶ ciphertext to the peer
//
// The driver's loop: feed what arrived; advance() until it says open, closed or failed; send output() whenever it is
// not empty, after every call; read() until it gives 0. When the transport ends, end_input(), then read() and
// advance() once more.
//
// Owner: the stream that also owns the socket. One core: its context's. Neither copies nor moves, because BoringSSL
// points back at it. An idle open connection holds no buffer of any kind.
//
// Invariants: 1. input <= kInputBytesMax. 2. output <= kOutputBytesMax + kProtocolBytesMax. 3. open, closed and
// failed never go back to a want_ state; failed is final.
class TlsEngine {
 public:
  static constexpr size_t kInputBytesMax = 32 * 1024;     // more than the largest record (RFC 8446 section 5.2)
  static constexpr size_t kOutputBytesMax = 64 * 1024;    // write() stops here
  static constexpr size_t kProtocolBytesMax = 64 * 1024;  // room above it for handshake messages and alerts

  // A server's side.
  explicit TlsEngine(std::shared_ptr<TlsContext> context);
  // A client's side. `host`: the DNS name or IP address literal (v6 without brackets) that the server must prove; a
  // name is sent as SNI. A malformed one makes an engine that has failed with invalid_host_name.
  // `identity`: who we are where the server asks; used here only. One that does not parse makes an engine that has
  // failed with invalid_chain, invalid_key or key_mismatch. See TlsContext::sibling().
  TlsEngine(std::shared_ptr<TlsContext> context, std::string_view host, const TlsIdentity* identity = nullptr);
  TlsEngine(const TlsEngine&) = delete;
  TlsEngine& operator=(const TlsEngine&) = delete;
  ~TlsEngine();

  // Takes ciphertext; returns how many bytes. Fewer than given means: read() first, then feed the rest. After closed
  // or failed everything is taken and dropped.
  [[nodiscard]] size_t feed(Bytes ciphertext);
  // The transport ended. What was fed can still be read.
  void end_input();

  // Goes as far as it can with what was fed. A client calls it first, to make its hello.
  TlsState advance();
  TlsState state() const { return state_; }
  // Set while failed.
  const Error& error() const { return error_; }

  // Plaintext into `out`, at most its size. 0: nothing now, state() says why (open: needs input).
  // Not to be called with an empty `out`.
  size_t read(MutableBytes out);
  // True when read() may give something without more input.
  bool may_read() const;

  // Takes plaintext while the output is below kOutputBytesMax; returns how many bytes. 0 before open, after close()
  // and when failed.
  size_t write(Bytes plaintext);
  // How much write() would take now, at least when it is not 0.
  size_t writable() const;

  // Ciphertext to send, oldest first; valid until the next call of anything but output().
  Bytes output() const { return output_.peek(); }
  void consume_output(size_t count) { output_.consume(count); }

  // Queues close_notify once; write() takes nothing after it. Before open it only stops the handshake.
  void close();
  bool close_sent() const { return close_sent_; }

  // The rest is meant for state open or closed.
  std::string_view alpn() const;  // empty where none was agreed
  bool resumed() const;
  TlsVersion version() const;
  std::string_view cipher() const;  // e.g. "TLS_AES_128_GCM_SHA256"
  // Client: the server asked for a certificate in this handshake. A resumed session asks for none.
  bool certificate_asked() const { return certificate_asked_; }
  // DER of the peer's own certificate, from a resumed session too; empty where it showed none.
  Bytes peer_certificate() const;
  // Client: the host that was verified. Server: the name the client asked for (SNI), lower case, empty for none.
  std::string_view peer_name() const { return peer_name_; }

 private:
  friend struct TlsEngineCallbacks;
  void make();
  void finish_handshake();
  void flush_tickets();
  void settle(int result);
  void fail_with(Error error);
  Error failure() const;

  std::shared_ptr<TlsContext> context_;
  ssl_st* ssl_ = nullptr;
  ByteQueue input_;
  ByteQueue output_;
  std::string peer_name_;
  Error error_{};
  Error certificate_error_{};  // what our own verification found
  TlsState state_ = TlsState::want_input;
  bool input_ended_ = false;
  bool close_sent_ = false;
  bool certificate_asked_ = false;
  bool tickets_pending_ = false;  // server, 1.3: tickets wait for room in the output
};

}  // namespace bellhop
