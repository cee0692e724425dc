// SPDX-License-Identifier: Apache-2.0
#include "core/tls/engine.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "tests/core/tls/tls_fixture.h"

namespace bellhop::tls_test {
namespace {

class EngineOf : public ::testing::TestWithParam<TlsVersion> {
 protected:
  void SetUp() override {
    set_time(kNoon);
    server_ = make_server();
    client_ = make_client();
    only(*client_, GetParam());
  }
  std::shared_ptr<TlsContext> server_, client_;
};
INSTANTIATE_TEST_SUITE_P(Version, EngineOf, ::testing::Values(TlsVersion::v1_2, TlsVersion::v1_3),
                         [](const auto& info) { return info.param == TlsVersion::v1_3 ? "Tls13" : "Tls12"; });

TEST_P(EngineOf, ShakesHandsAndCarriesTextBothWays) {
  Meeting m(client_, server_);
  m.shake();
  ASSERT_EQ(m.client.state(), TlsState::open) << error_text(m.client.error());
  ASSERT_EQ(m.server.state(), TlsState::open) << error_text(m.server.error());
  EXPECT_EQ(m.client.version(), GetParam());
  EXPECT_EQ(m.server.version(), GetParam());
  EXPECT_EQ(m.server.peer_name(), kHost);
  EXPECT_EQ(m.client.peer_name(), kHost);
  EXPECT_FALSE(m.client.resumed());
  EXPECT_EQ(m.client.alpn(), "");
  EXPECT_THAT(std::string(m.client.cipher()), ::testing::HasSubstr("GCM"));
  say(m.client, "a question");
  say(m.server, "an answer");
  carry(m.client, m.server);
  carry(m.server, m.client);
  EXPECT_TRUE(m.server.may_read());
  EXPECT_EQ(read_all(m.server), "a question");
  EXPECT_EQ(read_all(m.client), "an answer");
  EXPECT_FALSE(m.server.may_read());
}

TEST_P(EngineOf, WorksWhenFedOneByteAtATime) {
  Meeting m(client_, server_);
  m.shake(1);
  ASSERT_EQ(m.client.state(), TlsState::open);
  ASSERT_EQ(m.server.state(), TlsState::open);
  say(m.client, "drip");
  std::string got;
  while (!m.client.output().empty()) {
    ASSERT_EQ(m.server.feed(m.client.output().first(1)), 1u);
    m.client.consume_output(1);
    got += read_all(m.server);
  }
  EXPECT_EQ(got, "drip");
  EXPECT_EQ(m.server.state(), TlsState::open);
}

TEST_P(EngineOf, DeliversTenMegabytesThroughBoundedBuffers) {
  constexpr size_t kBytes = 10 * 1024 * 1024;
  Meeting m(client_, server_);
  m.shake();
  std::vector<uint8_t> block(100'000);
  size_t sent = 0, received = 0, output_max = 0, refused = 0;
  std::vector<uint8_t> room(50'000);
  auto byte_at = [](size_t i) { return static_cast<uint8_t>((i * 2654435761u) >> 13); };
  while (received < kBytes) {
    size_t count = std::min(block.size(), kBytes - sent);
    for (size_t i = 0; i < count; ++i) block[i] = byte_at(sent + i);
    size_t taken = m.client.write(Bytes(block).first(count));
    if (taken < count) ++refused;
    sent += taken;
    output_max = std::max(output_max, m.client.output().size());
    m.client.consume_output(m.server.feed(m.client.output()));
    size_t got = m.server.read(room);
    ASSERT_EQ(m.server.state(), TlsState::open);
    for (size_t i = 0; i < got; ++i) ASSERT_EQ(room[i], byte_at(received + i));
    received += got;
  }
  EXPECT_EQ(sent, kBytes);
  EXPECT_GT(refused, 0u) << "the bound was never reached";
  EXPECT_LE(output_max, TlsEngine::kOutputBytesMax);
  EXPECT_GT(output_max, TlsEngine::kOutputBytesMax / 2);
}

TEST_P(EngineOf, TakesNoMoreInputThanItsBound) {
  Meeting m(client_, server_);
  m.shake();
  std::vector<uint8_t> block(60'000, 'x');
  ASSERT_EQ(m.client.write(block), block.size());
  EXPECT_EQ(m.server.feed(m.client.output()), TlsEngine::kInputBytesMax);
  EXPECT_EQ(m.server.feed(m.client.output()), 0u);
  std::vector<uint8_t> room(60'000);
  EXPECT_GT(m.server.read(room), 16'000u);
  EXPECT_GT(m.server.feed(m.client.output().subspan(TlsEngine::kInputBytesMax)), 0u);
}

TEST_P(EngineOf, SaysHowMuchItWouldTake) {
  Meeting m(client_, server_);
  EXPECT_EQ(m.client.writable(), 0u);
  EXPECT_EQ(m.client.write(as_bytes("early")), 0u);
  m.shake();
  std::vector<uint8_t> block(200'000, 'x');
  EXPECT_GE(m.client.writable(), 16'384u);
  size_t taken = m.client.write(block);
  EXPECT_LT(taken, TlsEngine::kOutputBytesMax);
  EXPECT_EQ(m.client.writable(), 0u);
  EXPECT_EQ(m.client.write(block), 0u);
  m.client.consume_output(m.client.output().size());
  EXPECT_GT(m.client.writable(), 0u);
}

TEST_P(EngineOf, TellsCloseNotifyFromAnAbruptEnd) {
  {
    Meeting m(client_, server_);
    m.shake();
    say(m.client, "last words");
    m.client.close();
    EXPECT_TRUE(m.client.close_sent());
    EXPECT_EQ(m.client.write(as_bytes("more")), 0u);
    carry(m.client, m.server);
    m.server.end_input();
    EXPECT_EQ(read_all(m.server), "last words");
    EXPECT_EQ(m.server.state(), TlsState::closed);
    // The other direction still works until it is closed too.
    say(m.server, "farewell");
    m.server.close();
    carry(m.server, m.client);
    EXPECT_EQ(read_all(m.client), "farewell");
    EXPECT_EQ(m.client.state(), TlsState::closed);
  }
  Meeting m(client_, server_);
  m.shake();
  say(m.client, "last words");
  carry(m.client, m.server);
  m.server.end_input();
  EXPECT_EQ(read_all(m.server), "last words");
  EXPECT_EQ(m.server.state(), TlsState::failed);
  EXPECT_TRUE(is(m.server.error(), TlsError::truncated));
  EXPECT_EQ(error_text(m.server.error()), "tls: the connection ended without close_notify");
}

TEST_P(EngineOf, ClosingDuringTheHandshakeStopsIt) {
  Meeting m(client_, server_);
  m.client.advance();
  m.client.close();
  EXPECT_EQ(m.client.state(), TlsState::failed);
  EXPECT_TRUE(is(m.client.error(), CoreError::closed));
}

TEST_P(EngineOf, FailsOnADamagedRecordAndTellsThePeer) {
  Meeting m(client_, server_);
  m.shake();
  say(m.client, "intact");
  std::vector<uint8_t> wire(m.client.output().begin(), m.client.output().end());
  wire.back() ^= 1;
  ASSERT_EQ(m.server.feed(wire), wire.size());
  EXPECT_EQ(read_all(m.server), "");
  EXPECT_EQ(m.server.state(), TlsState::failed);
  EXPECT_EQ(error_text(m.server.error()), "tls: a record is damaged");
  carry(m.server, m.client);
  read_all(m.client);
  EXPECT_TRUE(is(m.client.error(), TlsError::peer_alert));
  EXPECT_EQ(m.client.error().detail, 20u);
  EXPECT_EQ(error_text(m.client.error()), "tls: the peer refused with alert 20: bad record mac");
  EXPECT_EQ(m.server.feed(wire), wire.size()) << "a failed engine swallows what still arrives";
}

// Cuts the peer's flight at every byte and ends the transport there.
void truncate_everywhere(std::shared_ptr<TlsContext> client, std::shared_ptr<TlsContext> server) {
  Meeting reference(client, server);
  reference.client.advance();
  size_t hello = reference.client.output().size();
  carry(reference.client, reference.server);
  size_t answer = reference.server.output().size();
  ASSERT_GT(hello, 100u);
  ASSERT_GT(answer, 100u);
  for (size_t cut = 0; cut < hello; ++cut) {
    Meeting m(client, server);
    m.client.advance();
    ASSERT_EQ(m.server.feed(m.client.output().first(std::min(cut, m.client.output().size() - 1))), cut);
    EXPECT_EQ(m.server.advance(), TlsState::want_input) << cut;
    m.server.end_input();
    EXPECT_EQ(m.server.advance(), TlsState::failed) << cut;
    EXPECT_TRUE(is(m.server.error(), TlsError::ended_in_handshake)) << cut;
  }
  for (size_t cut = 0; cut + 16 < answer; ++cut) {
    Meeting m(client, server);
    m.client.advance();
    carry(m.client, m.server);
    ASSERT_EQ(m.client.feed(m.server.output().first(cut)), cut);
    EXPECT_EQ(m.client.advance(), TlsState::want_input) << cut;
    m.client.end_input();
    EXPECT_EQ(m.client.advance(), TlsState::failed) << cut;
    EXPECT_TRUE(is(m.client.error(), TlsError::ended_in_handshake)) << cut;
  }
}

TEST_P(EngineOf, WaitsOrFailsWhereverTheHandshakeIsCut) {
  truncate_everywhere(client_, server_);
}

TEST_P(EngineOf, SurvivesEveryFlippedByteOfAHandshake) {
  Meeting reference(client_, server_);
  reference.client.advance();
  carry(reference.client, reference.server);
  size_t answer = reference.server.output().size();
  size_t failed = 0, stuck = 0, opened = 0;
  for (size_t at = 0; at < answer - 16; ++at) {
    Meeting m(client_, server_);
    m.client.advance();
    carry(m.client, m.server);
    std::vector<uint8_t> wire(m.server.output().begin(), m.server.output().end());
    if (at >= wire.size()) continue;  // signatures vary in length
    if (at == 2) continue;            // legacy_record_version must be ignored (RFC 8446 section 5.1)
    wire[at] ^= 0x55;
    EXPECT_EQ(m.client.feed(wire), wire.size());
    switch (m.client.advance()) {
      case TlsState::failed:
        ++failed;
        break;
      case TlsState::want_input:
        ++stuck;
        break;
      default:
        ++opened;
        break;
    }
  }
  EXPECT_GT(failed, answer / 2);
  EXPECT_EQ(opened, 0u) << "an altered handshake was accepted; " << failed << " failed, " << stuck << " wait";
}

TEST(Engine, RefusesGarbageAndPlainHttp) {
  set_time(kNoon);
  auto server = make_server();
  {
    TlsEngine engine(server);
    std::string_view request = "GET / HTTP/1.1\r\nHost: mail.example.test\r\n\r\n";
    EXPECT_EQ(engine.feed(as_bytes(request)), request.size());
    EXPECT_EQ(engine.advance(), TlsState::failed);
    EXPECT_EQ(error_text(engine.error()), "tls: the peer does not speak TLS on this port");
  }
  uint32_t seed = 1;
  for (int round = 0; round < 500; ++round) {
    TlsEngine engine(server);
    std::vector<uint8_t> noise(600);
    for (auto& byte : noise) byte = static_cast<uint8_t>((seed = seed * 1664525 + 1013904223) >> 24);
    if (round % 2)
      std::copy_n("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11, noise.begin());  // a hello's beginning
    ASSERT_EQ(engine.feed(noise), noise.size());
    TlsState state = engine.advance();
    ASSERT_TRUE(state == TlsState::failed || state == TlsState::want_input) << round << to_text(state);
    engine.end_input();
    EXPECT_EQ(engine.advance(), TlsState::failed);
    EXPECT_EQ(engine.advance(), TlsState::failed) << "failed is final";
  }
}

TEST(Engine, RefusesOldVersions) {
  set_time(kNoon);
  // A ClientHello of TLS 1.1 with one cipher suite and no extensions.
  std::vector<uint8_t> hello = {0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2};
  hello.resize(hello.size() + 32, 7);
  for (uint8_t byte : {0, 0, 2, 0xc0, 0x09, 1, 0}) hello.push_back(byte);
  TlsEngine engine(make_server());
  ASSERT_EQ(engine.feed(hello), hello.size());
  EXPECT_EQ(engine.advance(), TlsState::failed);
  EXPECT_EQ(error_text(engine.error()), "tls: no TLS version in common (1.2 and 1.3 are spoken)");
}

TEST(Engine, RefusesMalformedHostNames) {
  set_time(kNoon);
  auto client = make_client();
  for (std::string host : {std::string(), std::string("a..b"), std::string("mail.example.test."), std::string("a b"),
                           std::string("a\0b", 3), std::string(64, 'a'), std::string("[::1]"), std::string("256.1.1.1"),
                           std::string("*.example.test"), std::string("1.2.3")}) {
    TlsEngine engine(client, host);
    EXPECT_EQ(engine.advance(), TlsState::failed) << host;
    EXPECT_TRUE(is(engine.error(), TlsError::invalid_host_name)) << host;
    EXPECT_EQ(engine.write(as_bytes("x")), 0u);
    EXPECT_FALSE(engine.may_read());
    EXPECT_EQ(engine.version(), TlsVersion::none);
    engine.close();
  }
}

TEST(Engine, AgreesOnTheServersFavouriteProtocol) {
  set_time(kNoon);
  auto talk = [](std::vector<std::string> ours, std::vector<std::string> theirs, bool required) {
    auto options = server_options(server_certificate());
    options.alpn = ours;
    options.alpn_required = required;
    TlsClientOptions client;
    client.authorities = trusting(authority());
    client.alpn = theirs;
    auto m = std::make_unique<Meeting>(make_client(client), make_server(options));
    m->shake();
    return m;
  };
  auto both = talk({"h2", "http/1.1"}, {"http/1.1", "h2"}, true);
  EXPECT_EQ(both->client.alpn(), "h2");
  EXPECT_EQ(both->server.alpn(), "h2");
  EXPECT_EQ(talk({"h2", "http/1.1"}, {"http/1.1"}, true)->server.alpn(), "http/1.1");
  EXPECT_EQ(talk({"h2"}, {}, true)->client.state(), TlsState::open) << "no offer is no disagreement";

  auto lenient = talk({"http/1.1"}, {"h2"}, false);
  EXPECT_EQ(lenient->client.state(), TlsState::open);
  EXPECT_EQ(lenient->client.alpn(), "");

  auto strict = talk({"http/1.1"}, {"h2"}, true);
  EXPECT_EQ(strict->server.state(), TlsState::failed);
  EXPECT_EQ(error_text(strict->server.error()), "tls: no application protocol in common");
  EXPECT_TRUE(is(strict->client.error(), TlsError::peer_alert));
  EXPECT_EQ(strict->client.error().detail, 120u);
}

}  // namespace
}  // namespace bellhop::tls_test
