// What a session refuses before it sends a single packet.
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "engine/client/client.h"
#include "shm/socket.h"
#include "tests/unit/session/session_pair.h"

namespace ferry {
namespace {

struct bad_option {
  const char* says;
  std::function<void(session_options&)> set;
};

const std::vector<bad_option> bad_options = {
    {"ring_bytes", [](session_options& o) { o.ring_bytes = 0; }},
    {"ring_bytes", [](session_options& o) { o.ring_bytes = 2048; }},
    {"ring_bytes", [](session_options& o) { o.ring_bytes = 5000; }},
    {"ring_bytes", [](session_options& o) { o.ring_bytes = max_ring_bytes * 2; }},
    {"ring_bytes", [](session_options& o) { o.ring_bytes = ~std::uint64_t{0}; }},
    {"returns_cells", [](session_options& o) { o.returns_cells = 0; }},
    {"returns_cells", [](session_options& o) { o.returns_cells = 8; }},
    {"returns_cells", [](session_options& o) { o.returns_cells = 100; }},
    {"returns_cells", [](session_options& o) { o.returns_cells = 1u << 17; }},
    {"inline_limit", [](session_options& o) { o.inline_limit = 0; }},
    {"inline_limit", [](session_options& o) { o.inline_limit = min_inline_limit - 1; }},
    {"inline_limit", [](session_options& o) { o.inline_limit = ~std::uint32_t{0}; }},
    {"inline_limit", [](session_options& o) { o.ring_bytes = 4096; }},  // 2 KiB is too much for it
};

TEST(session_options, that_make_no_sense_are_named_at_once) {
  for (std::size_t i = 0; i < bad_options.size(); ++i) {
    auto ends = socket_pair();
    ASSERT_TRUE(ends);
    client_options options;
    bad_options[i].set(options.session);
    const auto attached = client::attach(std::move(ends->first), options);
    ASSERT_FALSE(attached) << i;
    EXPECT_EQ(attached.error().code, errc::bad_argument) << i;
    EXPECT_NE(attached.error().text.find(bad_options[i].says), std::string::npos)
        << i << ": " << attached.error().text;
    std::array<std::byte, 100> buffer;
    EXPECT_EQ(receive_packet(ends->second.get(), buffer).error().code, errc::unavailable) << i;
  }
}

TEST(session_options, of_a_client_bound_its_calls) {
  for (const std::uint32_t calls : {0u, 65'536u, ~0u}) {
    auto ends = socket_pair();
    ASSERT_TRUE(ends);
    client_options options;
    options.max_calls = calls;
    const auto attached = client::attach(std::move(ends->first), options);
    ASSERT_FALSE(attached);
    EXPECT_EQ(attached.error().code, errc::bad_argument);
    EXPECT_NE(attached.error().text.find("max_calls"), std::string::npos);
  }
}

TEST(session_options, at_their_limits_are_good) {
  session_options smallest;
  smallest.ring_bytes = min_ring_bytes;
  smallest.returns_cells = min_returns_cells;
  smallest.inline_limit = min_inline_limit;
  session_options largest;
  largest.ring_bytes = max_ring_bytes;
  largest.returns_cells = max_returns_cells;
  largest.inline_limit = static_cast<std::uint32_t>(max_inline_bytes(max_ring_bytes));
  EXPECT_NO_THROW(core_pair(smallest, largest));
  EXPECT_NO_THROW(core_pair(largest, smallest));
}

TEST(session_options, give_a_silent_peer_the_time_they_say) {
  auto ends = socket_pair();
  ASSERT_TRUE(ends);
  client_options options;
  options.session.hello_timeout = std::chrono::milliseconds(30);
  const auto before = std::chrono::steady_clock::now();
  const auto attached = client::attach(std::move(ends->first), options);
  ASSERT_FALSE(attached);
  EXPECT_EQ(attached.error().code, errc::timeout);
  EXPECT_GE(std::chrono::steady_clock::now() - before, options.session.hello_timeout);
}

TEST(session_options, do_not_matter_to_a_peer_that_is_gone) {
  auto ends = socket_pair();
  ASSERT_TRUE(ends);
  ends->second = unique_fd();
  const auto attached = client::attach(std::move(ends->first));
  ASSERT_FALSE(attached);
  EXPECT_EQ(attached.error().code, errc::unavailable);
}

}  // namespace
}  // namespace ferry
