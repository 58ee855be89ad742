// Whoever comes and does not introduce himself: dropped when his time is over, or at once for what
// he says, and nobody else is kept waiting meanwhile.
#include <poll.h>

#include "engine/channel/tls_cipher.h"
#include "engine/session/hello.h"
#include "tests/e2e/channel_listening.h"
#include "tests/e2e/raw_frames.h"

namespace ferry {
namespace {

using steady = std::chrono::steady_clock;

// Of the listener; honest handshakes fit into it.
constexpr std::chrono::milliseconds patience = sanitized ? 5s : 2s;

class channel_silence : public over_each_transport {};
INSTANTIATE_TEST_SUITE_P(each, channel_silence, connecting_transports(), transport_name);

raw_bytes bytes_of(std::string_view text) {
  const auto all = std::as_bytes(std::span(text));
  return {all.begin(), all.end()};
}

// The beginning of a ClientHello of 508 bytes.
raw_bytes client_hello_prefix() {
  using namespace std::string_view_literals;
  return bytes_of("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x2a\x2a\x2a"sv);
}

// The session's hello, and nothing behind it.
void greet_session(const unique_fd& socket) {
  session_options options;
  auto offer = offer_hello(socket, session_role::host, options);
  ASSERT_TRUE(offer);
  pollfd readable{socket.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&readable, 1, 30'000), 1);
  auto open = accept_hello(socket, *offer);
  ASSERT_TRUE(open) << open.error().message();
  EXPECT_TRUE(*open);
}

// A TLS handshake to its end, and nothing behind it.
void greet_tls(const unique_fd& socket, const tls_options& options) {
  auto cipher = connect_tls(options, "localhost");
  ASSERT_TRUE(cipher) << cipher.error().message();
  ASSERT_TRUE((*cipher)->begin(socket.get()));
  while (!(*cipher)->open()) {
    ASSERT_TRUE((*cipher)->flush());
    std::array<std::byte, 4096> part;
    const ssize_t got = ::recv(socket.get(), part.data(), part.size(), 0);
    ASSERT_GT(got, 0);
    (*cipher)->feed(std::span(part).first(static_cast<std::size_t>(got)));
    ASSERT_TRUE((*cipher)->advance());
  }
  ASSERT_TRUE((*cipher)->flush());
}

// What the other side says until it goes; nullopt: it does not go.
std::optional<std::string> last_words(const unique_fd& socket) {
  const auto deadline = steady::now() + generous;
  std::string all;
  std::array<char, 4096> part;
  while (steady::now() < deadline) {
    pollfd readable{socket.get(), POLLIN, 0};
    if (::poll(&readable, 1, 1'000) == 0) continue;
    const ssize_t got = ::recv(socket.get(), part.data(), part.size(), MSG_DONTWAIT);
    if (got <= 0) return all;
    all.append(part.data(), static_cast<std::size_t>(got));
  }
  return std::nullopt;
}

TEST_P(channel_silence, at_any_step_ends_in_time_and_delays_nobody) {
  listener_options options;
  options.handshake_timeout = patience;
  listening here(GetParam(), options);
  const auto began = steady::now();
  std::vector<unique_fd> silent;
  silent.push_back(here.raw());  // from the first
  if (GetParam() == "shm+unix") {
    silent.push_back(here.raw());
    greet_session(silent.back());
  } else if (GetParam() == "tls") {
    silent.push_back(here.raw());
    send_all(silent.back(), client_hello_prefix());
    silent.push_back(here.raw());
    greet_tls(silent.back(), client_tls(here.folder / ""));
  } else {
    // Within the header, at its end, and within the head.
    for (const std::size_t size : {std::size_t{1}, std::size_t{64}, hello_frame().size() - 1}) {
      silent.push_back(here.raw());
      raw_bytes part = hello_frame();
      part.resize(size);
      send_all(silent.back(), part);
    }
  }
  ASSERT_FALSE(testing::Test::HasFatalFailure());
  ASSERT_TRUE(eventually([&] { return here.listener->get_stats().handshakes == silent.size(); }));

  auto honest = here.connect();  // while they all wait
  const auto served = steady::now();
  ASSERT_TRUE(honest) << honest.error().message();
  EXPECT_LT(served - began, patience);
  EXPECT_TRUE(here.accepted.take());

  for (std::size_t i = 0; i < silent.size(); ++i) {
    const auto why = here.refused.take();
    ASSERT_TRUE(why);
    EXPECT_GE(steady::now() - began, patience);
    EXPECT_EQ(why->code, errc::timeout) << why->message();
    EXPECT_EQ(why->text, "no connection and handshake in time");
    EXPECT_EQ(why->timeout_ms, static_cast<std::uint64_t>(patience / 1ms));
  }
  for (const unique_fd& each : silent) EXPECT_TRUE(last_words(each));
  EXPECT_EQ(here.listener->get_stats().handshakes, 0u);
  EXPECT_EQ(here.listener->get_stats().refused, silent.size());
  EXPECT_EQ(here.listener->get_stats().accepted, 1u);
  EXPECT_FALSE(here.refused.take(0ns));
  EXPECT_TRUE((*honest)->send(ack()));
  EXPECT_TRUE(here.connect());
}

TEST_P(channel_silence, of_as_many_as_may_come_gives_way_to_who_speaks) {
  listener_options by_handshakes, by_connections;
  by_handshakes.max_handshakes = by_connections.max_connections = 4;
  for (listener_options options : {by_handshakes, by_connections}) {
    options.handshake_timeout = 1min;
    listening here(GetParam(), options);
    std::vector<unique_fd> silent;
    for (std::uint32_t i = 1; i <= 4; ++i) {
      silent.push_back(here.raw());
      ASSERT_TRUE(eventually([&] { return here.listener->get_stats().handshakes == i; }));
    }
    EXPECT_FALSE(here.refused.take(200ms));  // they give way to others alone
    auto honest = here.connect();
    ASSERT_TRUE(honest) << honest.error().message();
    const auto accepted = here.accepted.take();
    EXPECT_TRUE(accepted);
    const auto words = last_words(silent.front());  // the first who came
    ASSERT_TRUE(words);
    if (GetParam() != "tls" && GetParam() != "shm+unix") {
      EXPECT_NE(words->find("too many"), std::string::npos) << *words;
    }
    const auto stats = here.listener->get_stats();
    EXPECT_EQ(stats.handshakes, 3u);
    EXPECT_EQ(stats.turned_away, 1u);
    EXPECT_EQ(stats.refused, 0u);
    EXPECT_EQ(stats.connections, 4u);
    EXPECT_TRUE((*honest)->send(ack()));
  }
}

TEST_P(channel_silence, is_not_what_a_crowd_is_taken_for) {
  if (sanitized && GetParam() == "tls")
    GTEST_SKIP() << "expected: its handshakes are too slow here";
  listener_options options;
  options.max_handshakes = 2;
  options.handshake_timeout = 1min;
  listening here(GetParam(), options);
  auto driven = loop::create();
  ASSERT_TRUE(driven);
  channel_options near;
  near.loop = *driven;
  near.connect_timeout = generous;
  if (GetParam() == "tls") near.tls = client_tls(here.folder / "");
  constexpr int crowd = 30;
  std::vector<channel_ptr> ends;
  int failed = 0;
  for (int i = 0; i < crowd; ++i) {
    ASSERT_TRUE(connect_channel_async({GetParam(), here.listener->address()}, test_instance(), near,
                                      [&](channel_result&& made) {
                                        if (made) {
                                          ends.push_back(std::move(*made));
                                        } else {
                                          ++failed;
                                          ADD_FAILURE() << made.error().message();
                                        }
                                      }));
  }
  const auto deadline = steady::now() + generous;
  while (static_cast<int>(ends.size()) + failed < crowd && steady::now() < deadline) {
    ASSERT_TRUE(driven->run_once(10ms));
  }
  EXPECT_EQ(ends.size(), static_cast<std::size_t>(crowd));
}

TEST_P(channel_silence, broken_by_single_bytes_gains_no_time) {
  if (GetParam() == "shm+unix") return;  // packets come whole
  listener_options options;
  options.handshake_timeout = 500ms;
  listening here(GetParam(), options);
  raw_bytes whole = GetParam() == "tls" ? client_hello_prefix() : hello_frame();
  whole.resize(512, std::byte{0x2a});
  const auto began = steady::now();
  const unique_fd slow = here.raw();
  std::optional<channel_error> why;
  for (std::size_t i = 0; !why && i < 100; ++i) {
    send_all(slow, {whole[i]});
    why = here.refused.take(25ms);
  }
  ASSERT_TRUE(why) << "still listened to";
  EXPECT_GE(steady::now() - began, 500ms);
  EXPECT_EQ(why->code, errc::timeout) << why->message();
  EXPECT_TRUE(last_words(slow));
}

TEST_P(channel_silence, or_garbage_first_ends_that_connection_with_a_reason) {
  listening here(GetParam());  // none of this waits for a time-out
  struct rudeness {
    raw_bytes says;
    errc code;
    std::string told;  // to both
  };
  std::vector<rudeness> all;
  const raw_bytes garbage(600, std::byte{0xa5});
  if (GetParam() == "shm+unix") {
    all.push_back({garbage, errc::corrupt, ""});
    all.push_back({hello_frame(), errc::corrupt, ""});
    all.push_back({raw_bytes(1), errc::corrupt, ""});
  } else if (GetParam() == "tls") {
    all.push_back({garbage, errc::authentication_failed, "TLS handshake"});
    all.push_back({hello_frame(), errc::authentication_failed, "TLS handshake"});
    raw_bytes broken = client_hello_prefix();
    broken.resize(600, std::byte{0xa5});
    all.push_back({broken, errc::authentication_failed, "TLS handshake"});
    all.push_back(
        {bytes_of("GET / HTTP/1.1\r\n\r\n"), errc::authentication_failed, "http request"});
  } else {
    all.push_back({garbage, errc::corrupt, "wrong magic"});
    const message early = execution_request("f");
    all.push_back({frame_of(fields_of(early), early), errc::authentication_failed, "not a hello"});
    const message bye;
    all.push_back({frame_of(control_fields(frame_kind::bye, bye), bye), errc::authentication_failed,
                   "not a hello"});
    all.push_back({frame_of(control_fields(frame_kind::welcome, bye), bye),
                   errc::authentication_failed, "not a hello"});
    all.push_back({bytes_of("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + std::string(64, ' ')),
                   errc::corrupt, "wrong magic"});
  }
  const unique_fd silent = here.raw();  // beside them all
  for (const rudeness& each : all) {
    const unique_fd rude = here.raw();
    send_all(rude, each.says);
    const auto why = here.refused.take();
    ASSERT_TRUE(why);
    EXPECT_EQ(why->code, each.code) << why->message();
    EXPECT_NE(why->text.find(each.told), std::string::npos) << why->message();
    EXPECT_FALSE(why->text.empty());
    const auto heard = last_words(rude);
    ASSERT_TRUE(heard);
    if (GetParam() != "tls") {  // which has alerts without words
      EXPECT_NE(heard->find(each.told), std::string::npos);
    }
    EXPECT_TRUE(here.connect());
    EXPECT_TRUE(here.accepted.take());
  }
  EXPECT_EQ(here.listener->get_stats().refused, all.size());
  EXPECT_EQ(here.listener->get_stats().accepted, all.size());
  EXPECT_EQ(here.listener->get_stats().handshakes, 1u);
}

TEST_P(channel_silence, or_garbage_behind_the_sessions_hello_ends_that_connection) {
  if (GetParam() != "shm+unix") return;
  listening here(GetParam());
  const unique_fd rude = here.raw();
  greet_session(rude);
  send_all(rude, raw_bytes(100, std::byte{0xa5}));
  const auto why = here.refused.take();
  ASSERT_TRUE(why);
  EXPECT_EQ(why->code, errc::corrupt) << why->message();
  EXPECT_TRUE(last_words(rude));
  EXPECT_TRUE(here.connect());
}

TEST_P(channel_silence, of_a_listener_is_not_waited_for_longer_than_asked) {
  channel_options options;
  options.connect_timeout = 200ms;
  std::atomic<bool> stuck{false}, release{false};  // outlive the loop
  listening there(GetParam());
  there.thread.loop().post([&] {
    stuck = true;
    while (!release) ::usleep(1'000);
  });
  EXPECT_TRUE(eventually([&] { return stuck.load(); }));  // accepts nobody from now on
  const auto began = steady::now();
  const auto made = there.connect(options);
  const auto took = steady::now() - began;
  release = true;
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, errc::timeout) << made.error().message();
  EXPECT_EQ(made.error().timeout_ms, 200u);
  EXPECT_GE(took, 200ms);
  EXPECT_LT(took, generous);
}

}  // namespace
}  // namespace ferry
