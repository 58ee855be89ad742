// Frames and records that claim a size: it is believed within the limit alone, and what has not
// come takes no memory.
#include <malloc.h>

#include "perf/heap_count.h"
#include "tests/e2e/channel_listening.h"
#include "tests/e2e/process.h"
#include "tests/e2e/raw_frames.h"
#include "tests/fault/hostile_peer.h"

namespace ferry {
namespace {

// The least of the claims is larger, a thread's read buffer is smaller.
constexpr std::uint64_t harmless_bytes = 512 << 10;

class channel_claims : public over_each_transport {};
INSTANTIATE_TEST_SUITE_P(each, channel_claims, testing::Values<std::string>("unix", "tcp"),
                         transport_name);

// A frame that is all header and head.
raw_bytes claiming(frame_kind kind, const message& what, std::uint64_t data_bytes) {
  frame_fields fields = control_fields(kind, what);
  fields.data_size = data_bytes;
  return frame_of(fields, what);
}
raw_bytes claiming(const message& what, std::uint64_t data_bytes) {
  frame_fields fields = fields_of(what);
  fields.data_size = data_bytes;
  return frame_of(fields, what);
}

TEST(heap_count, sees_the_largest_piece) {
  heap_forget_largest();
  const auto large = std::make_unique<std::string>(harmless_bytes + 1, 'x');
  EXPECT_GT(heap_largest(), harmless_bytes);
  heap_forget_largest();
  const auto small = std::make_unique<std::string>(1'000, 'x');
  EXPECT_LT(heap_largest(), harmless_bytes);
  EXPECT_GE(heap_largest(), 1'000u);
}

TEST_P(channel_claims, before_the_handshake_take_no_memory) {
  listening here(GetParam());
  const message hello = hello_message(test_instance(), std::nullopt);
  for (const std::uint64_t size : {1ull << 20, 1ull << 30, 1ull << 62, ~0ull}) {
    const raw_bytes frame = claiming(frame_kind::hello, hello, size);
    heap_forget_largest();
    const unique_fd rude = here.raw();
    send_all(rude, frame);
    EXPECT_NE(read_to_end(rude).find("over the limit"), std::string::npos);
    EXPECT_EQ(here.refused.take()->code, errc::frame_too_large) << size;
    EXPECT_LT(heap_largest(), harmless_bytes) << size;
  }
  EXPECT_TRUE(here.connect());
}

struct verdict {
  errc code{};        // of the channel that it ended
  std::string words;  // to whoever sent it
};

// What comes of a frame behind a good handshake; it must take no memory.
verdict told_of(listening& here, const raw_bytes& frame) {
  heap_forget_largest();
  const unique_fd rude = here.raw();
  send_all(rude, hello_frame());
  const auto chan = here.accepted.take();
  if (!chan) return {};
  send_all(rude, frame);
  verdict told{{}, read_to_end(rude)};
  EXPECT_TRUE(eventually([&] { return (*chan)->failure().has_value(); }));
  if (const auto why = (*chan)->failure()) told.code = why->code;
  EXPECT_LT(heap_largest(), harmless_bytes);
  return told;
}

TEST_P(channel_claims, over_the_limit_take_no_memory) {
  listener_options options;
  options.channel.max_message_bytes = 1 << 20;
  listening here(GetParam(), options);
  const message what = execution_request("f");
  for (const std::uint64_t size : {(1ull << 20) + 1, 1ull << 30, 1ull << 62, ~0ull}) {
    const raw_bytes frame = claiming(what, size);
    const auto told = told_of(here, frame);
    EXPECT_EQ(told.code, errc::frame_too_large) << size;
    EXPECT_NE(told.words.find("over the limit"), std::string::npos);
  }
  EXPECT_TRUE(here.connect());
}

TEST_P(channel_claims, of_names_over_the_limit_take_no_memory) {
  listening here(GetParam());
  for (const std::uint32_t size : {static_cast<std::uint32_t>(max_head_bytes + 1), 1u << 30, ~0u}) {
    const message what = execution_request("f");
    frame_header header = header_of(fields_of(what));
    header.head_size = size;
    raw_bytes frame(sizeof header);
    std::memcpy(frame.data(), &header, sizeof header);
    EXPECT_EQ(told_of(here, frame).code, errc::corrupt) << size;
  }
}

TEST_P(channel_claims, within_the_limit_that_nothing_follows_stay_untouched) {
  if (sanitized) GTEST_SKIP() << "expected: sanitizers hoard memory";
  ::mallopt(M_PERTURB, 0);  // Meson's MALLOC_PERTURB_ would write it all
  listening here(GetParam());
  const raw_bytes frame = claiming(execution_request("f"), 60 << 20);
  const auto before = status_of(::getpid(), "RssAnon");
  std::vector<unique_fd> rude;
  std::vector<channel_ptr> ends;
  for (int i = 0; i < 10; ++i) {
    rude.push_back(here.raw());
    send_all(rude.back(), hello_frame());
    auto chan = here.accepted.take();
    ASSERT_TRUE(chan);
    ends.push_back(std::move(*chan));
    send_all(rude.back(), frame);
    send_all(rude.back(), raw_bytes(1'000));  // the beginning
  }
  // Whoever comes after them is served: what they sent has been looked at.
  auto honest = here.connect();
  ASSERT_TRUE(honest);
  EXPECT_LT(status_of(::getpid(), "RssAnon") - before, 16 << 10);  // of 600 MiB, in KiB
  rude.clear();
  for (const channel_ptr& each : ends) {
    ASSERT_TRUE(eventually([&] { return each->failure().has_value(); }));
    EXPECT_EQ(each->failure()->code, errc::unavailable);
    EXPECT_NE(each->failure()->text.find("within a frame"), std::string::npos);
  }
}

// --- of whoever was connected to ----------------------------------------------------------------

TEST(channel_claims_of_a_listener, take_no_memory) {
  if (!reactor::create()) GTEST_SKIP() << "expected: no reactor here";
  for (const frame_kind kind : {frame_kind::welcome, frame_kind::refusal}) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    unique_fd near(ends[0]);
    const unique_fd rude(ends[1]);
    send_all(rude, claiming(kind, message(), 1ull << 30));
    heap_forget_largest();
    const auto made = adopt_channel(std::move(near), false, test_instance());
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, errc::frame_too_large) << made.error().message();
    EXPECT_LT(heap_largest(), harmless_bytes);
  }
}

// --- records ------------------------------------------------------------------------------------

TEST(channel_claims_of_records, take_no_memory) {
  if (!reactor::create()) GTEST_SKIP() << "expected: no reactor here";
  const std::uint64_t memory_bytes = 8 << 20;
  const raw_memory memory(memory_bytes);
  // What the body is said to be; whether the memory for it was sent.
  for (const auto& [size, sent] :
       {std::pair(memory_bytes, true), std::pair(std::uint64_t{1} << 40, true),
        std::pair(memory_bytes, false), std::pair(~std::uint64_t{0}, false)}) {
    auto driven = loop::create();
    ASSERT_TRUE(driven);
    channel_options options;
    options.loop = *driven;
    options.max_message_bytes = 1 << 20;
    hostile_peer peer(plays::host);
    std::optional<channel_error> ended;
    channel_ptr chan;
    ASSERT_TRUE(adopt_channel_async(
        peer.victims_end(), true, test_instance(), options, [&](channel_result&& made) {
          ASSERT_TRUE(made) << made.error().message();
          chan = *made;
          chan->on_closed([&](const channel_error& why) { ended = why; });
        }));
    ASSERT_TRUE(peer.send_hello());
    ASSERT_TRUE(peer.take_hello());
    const message hello = hello_message(test_instance(), std::nullopt);
    std::string head(control_fields(frame_kind::hello, hello).head_size, ' ');
    write_head(hello, std::as_writable_bytes(std::span(head)));
    raw_record record;
    record.kind = 32;
    record.code = static_cast<std::uint16_t>(frame_kind::hello);
    record.spare = handshake_version;
    record.function = record.inline_size = static_cast<std::uint32_t>(head.size());
    peer.put(record, head);
    while (!chan && !ended) ASSERT_TRUE(driven->run_once(generous));

    heap_forget_largest();
    if (sent) {
      ASSERT_TRUE(peer.send_segment(1, memory));
    }
    record = {};
    record.kind = 32;
    record.code = static_cast<std::uint16_t>(message_kind::execution_request);
    record.body_segment = record.body_id = 1;
    record.body_size = size;
    peer.put(record);
    while (!ended) ASSERT_TRUE(driven->run_once(100ms));
    const bool whole = sent && size == memory_bytes;
    EXPECT_EQ(ended->code, whole ? errc::frame_too_large : errc::corrupt) << ended->message();
    EXPECT_LT(heap_largest(), harmless_bytes) << size;
  }
}

}  // namespace
}  // namespace ferry
