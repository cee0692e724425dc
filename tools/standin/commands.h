// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/standin/device.h"

namespace bellhop::standin {

// The work behind `bellhop stand-in`, `bellhop device` and `bellhop load`. Each function starts a cluster of its own,
// prints what it has to say on standard output, complaints on standard error, and returns an exit code: 0 done, 1 failed.
// The process was prepared (error texts, set_tls_clock).

// A folder with what the stand-ins and the server share: ca.pem, ca-key.pem, standin.pem, standin-key.pem, server.pem,
// server-key.pem (for the server's own listener), app.pem, app-key.pem (a push app's certificate), apns.p8, apns-key.pub (its public half, base64 of the DER), token.key
// (signs access tokens). What is missing is made; so the stand-ins, started one after the other with the same folder,
// belong together. Files with keys have mode 0600.
struct StandinFolder {
  std::string path;
  std::vector<std::string> names = {"localhost"};       // in the certificates, besides 127.0.0.1 and ::1
  std::vector<std::string> addresses;
};

// `bellhop stand-in exchange`: until SIGTERM or SIGINT.
struct StandinExchangeCommand {
  StandinFolder folder;
  std::string listen = "127.0.0.1:8443";
  std::string control = "127.0.0.1:8444";
  std::string callback_ca_file;  // empty: the folder's ca.pem
  unsigned cores = 1;
  double time_scale = 1.0;
  bool first_status_before_answer = false;
  bool expect_continue = true;
  bool callback_http2 = false;
  uint32_t callback_connections_max = 64;
  uint32_t callback_timeout_ms = 30'000;
  std::string version = "Exchange2016";
  bool gzip = false;
  std::string logon = "password";  // or "certificate", "dual"; certificates are those of the folder's authority
  std::string autodiscover_http;  // address of Autodiscover's plain listener; empty: none
  uint32_t ledger_kept = 0;       // see ExchangeOptions, like the next ones
  uint32_t requests_kept = 0;
  std::vector<std::string> offers = {"basic"};  // or "negotiate", "ntlm"
  std::string negotiate_helper;                 // address; empty: nobody reads Kerberos tokens
  bool affinity = false;
  bool talkative = false;
  bool provisioning = false;
  uint32_t heartbeat_seconds_min = 60;
  // Mailboxes to begin with: user1@domain … userN@domain, one password.
  uint32_t mailboxes = 0;
  std::string domain = "example.com";
  std::string password = "correct horse";
};
int run_standin_exchange(const StandinExchangeCommand& command);

// `bellhop stand-in apns`: until SIGTERM or SIGINT.
struct StandinApnsCommand {
  StandinFolder folder;
  std::string listen = "127.0.0.1:8445";
  std::string control = "127.0.0.1:8446";
  unsigned cores = 1;
  std::string team_id = "EXAMPLE123";
  std::string key_id = "KEYEXAMPLE";
  std::vector<std::string> topics = {"com.example.mail"};
  uint32_t streams_max = 1'000;
  uint32_t pushes_kept = 10'000;
  bool keep_payloads = false;
  double time_scale = 1.0;
};
int run_standin_apns(const StandinApnsCommand& command);

// `bellhop stand-in token`: until SIGTERM or SIGINT.
struct StandinTokenCommand {
  StandinFolder folder;
  std::string listen = "127.0.0.1:8447";
  std::string control = "127.0.0.1:8448";
  uint32_t lifetime_s = 3'600;
  uint32_t grace_s = 0;
  bool rotate = true;
  std::string client_id = "mail-app";
};
int run_standin_token(const StandinTokenCommand& command);

// `bellhop stand-in proxy`: until SIGTERM or SIGINT.
struct StandinProxyCommand {
  StandinFolder folder;
  std::string listen = "127.0.0.1:8449";
  std::string control = "127.0.0.1:8450";
  bool tls = false;  // with the folder's certificate
  std::string username, password;
};
int run_standin_proxy(const StandinProxyCommand& command);

// `bellhop stand-in uem`: until SIGTERM or SIGINT.
struct StandinUemCommand {
  StandinFolder folder;
  std::string listen = "127.0.0.1:8451";
  std::string control = "127.0.0.1:8452";
  std::string token;               // that clients must show (Bearer); or
  std::string username, password;  // (Basic); all empty: nothing is asked for
  uint32_t devices = 0;            // made up; see UemDevices
  uint32_t users = 1'000'000;
  std::string domain = "example.com";
  uint32_t page_lines = 5'000;
};
int run_standin_uem(const StandinUemCommand& command);

// `bellhop stand-in certificate`: writes a user's certificate, of the folder's authority, and its key as a PKCS#12.
struct StandinCertificateCommand {
  StandinFolder folder;
  std::string address;
  std::string password;
  std::string file;
};
int run_standin_certificate(const StandinCertificateCommand& command);

// `bellhop device …`
struct DeviceCommand {
  DeviceServer server;
  std::string ca_file;  // empty: the system's roots
  DeviceAccount account;
  // With OAuth and without a refresh token: where the token stand-in gives one, as the logon at the phone would.
  std::string token_control;
  std::string pkcs12_file;  // with a certificate
};
int run_device_getpublickey(const DeviceCommand& command);
int run_device_subscribe(const DeviceCommand& command);  // prints the device secret the first time
int run_device_checkin(const DeviceCommand& command);
int run_device_updatetoken(const DeviceCommand& command);
int run_device_unsubscribe(const DeviceCommand& command);

// `bellhop load`: registers mailboxes through the device API, delivers mails with a bounded number under way, waits until
// APNs has them, and prints what became of them. Exit code 0 only if every mail was pushed exactly once.
struct LoadCommand {
  DeviceServer server;
  std::string ca_file;
  // Stand-ins that run already. Their control addresses, and where EWS is.
  std::string exchange_control = "127.0.0.1:8444";
  std::string apns_control = "127.0.0.1:8446";
  std::string token_control = "127.0.0.1:8448";  // with OAuth
  std::string ews_url = "https://127.0.0.1:8443/EWS/Exchange.asmx";
  uint32_t wait_for_server_ms = 60'000;  // until the server's alive answers

  uint32_t mailboxes = 10;
  uint32_t mails = 1'000;
  uint32_t concurrency = 64;             // mails under way
  uint32_t mailbox_concurrency = 20;     // of them for one mailbox; above notification.merge_above they are merged
  uint32_t registrations_at_once = 16;
  uint32_t timeout_ms = 60'000;          // without any push while some are missing: the end
  std::string domain = "example.com";
  DeviceAuth auth = DeviceAuth::basic;
  std::string password = "correct horse";
  std::string folder;                    // with a certificate: the stand-ins' folder, whose authority signs them
  std::string topic;
  bool keep_registered = false;          // else the devices unsubscribe at the end
};
int run_load(const LoadCommand& command);

}  // namespace bellhop::standin
