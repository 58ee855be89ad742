// Bytes and records that no honest peer sends, before and after the handshake: one channel ends
// with a reason, everybody else is served. The seed is printed; FERRY_TEST_SEED repeats a run.
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "tests/e2e/raw_dial.h"
#include "tests/e2e/raw_frames.h"
#include "tests/fault/hostile_peer.h"

namespace ferry {
namespace {

constexpr int rounds = sanitized ? 60 : 300;

std::uint64_t chosen_seed() {
  const char* const given = std::getenv("FERRY_TEST_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 20240229;
  std::printf("FERRY_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

using bytes = raw_bytes;

class noise {
 public:
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  bytes any(std::size_t most) {
    bytes made(1 + below(most));
    for (std::byte& each : made) each = static_cast<std::byte>(random_());
    return made;
  }
  // Nearly a frame: the worst that a decoder can meet.
  bytes spoilt(bytes frame) {
    for (auto times = 1 + below(4); times > 0; --times) {
      frame[below(frame.size())] = static_cast<std::byte>(random_());
    }
    if (below(4) == 0) frame.resize(1 + below(frame.size()));
    return frame;
  }
  bytes a_frame() {
    message what = execution_request("f", payload::copy_of(any(300)));
    what.metadata = {{"key", "value"}};
    frame_fields fields = fields_of(what);
    fields.kind = static_cast<std::uint8_t>(below(2) == 0 ? 1 + below(7) : 64 + below(7));
    fields.flags = static_cast<std::uint8_t>(below(8));
    fields.request_id = below(4);
    return frame_of(fields, what);
  }
  bytes next() {
    switch (below(4)) {
      case 0: return any(4096);
      case 1: return a_frame();
      case 2: return spoilt(a_frame());
      default: return spoilt(hello_frame());
    }
  }

 private:
  std::mt19937_64 random_{chosen_seed()};
};

bool is_clear(const channel_error& why) {
  return why.code != errc{} && !why.text.empty() &&
         std::ranges::all_of(why.text, [](char c) { return c >= ' ' && c <= '~'; });
}

class channel_noise : public over_each_transport {
 protected:
  void SetUp() override {
    over_each_transport::SetUp();
    if (IsSkipped()) return;
    thread_.emplace(std::move(*loop_thread::start()));
    listener_options options;
    options.channel.loop = thread_->loop();
    auto opened = channel_listener::open(
        target_of(GetParam(), folder_), options, [this](channel_ptr made) { accept(made); },
        [this](const channel_error& why) { ended_.put(why); });
    ASSERT_TRUE(opened) << opened.error().message();
    listener_ = *opened;
    auto made = connect_channel({GetParam(), listener_->address()}, test_instance("honest"));
    ASSERT_TRUE(made);
    honest_ = *made;
  }
  void TearDown() override {
    if (honest_) honest_->close();
    if (listener_) listener_->close();
    const std::lock_guard guard(mutex_);
    for (const channel_ptr& each : accepted_) each->close();
  }
  // Runs on the loop's thread.
  void accept(const channel_ptr& made) {
    made->on_message([to = std::weak_ptr(made)](message&& asked) {
      const auto chan = to.lock();
      if (chan && asked.request_id != 0) {
        (void)chan->reply(asked, execution_success(std::move(asked.data)));
      }
    });
    if (made->instance_id().instance() != "honest") {
      made->on_closed([this](const channel_error& why) { ended_.put(why); });
    }
    const std::lock_guard guard(mutex_);
    accepted_.push_back(made);
  }
  void expect_service() {
    auto answer = honest_->request(execution_request("f", payload::copy_of("well")), generous);
    ASSERT_EQ(text_of(answer), "well");
    auto fresh = connect_channel({GetParam(), listener_->address()}, test_instance("honest"));
    ASSERT_TRUE(fresh) << fresh.error().message();
    ASSERT_TRUE((*fresh)->request(ack(), generous));
  }
  unique_fd raw() const { return raw_dial(GetParam(), listener_->address()); }

  private_folder folder_;
  mailbox<channel_error> ended_;  // how the noisy ones ended
  std::optional<loop_thread> thread_;
  std::shared_ptr<channel_listener> listener_;
  channel_ptr honest_;
  std::mutex mutex_;
  std::vector<channel_ptr> accepted_;
};
INSTANTIATE_TEST_SUITE_P(each, channel_noise, testing::Values<std::string>("unix", "tcp"),
                         transport_name);

TEST_P(channel_noise, before_the_handshake_ends_that_connection_alone) {
  noise from;
  for (int i = 0; i < rounds; ++i) {
    SCOPED_TRACE(i);
    const unique_fd rude = raw();
    send_all(rude, from.next());
    ::shutdown(rude.get(), SHUT_WR);
    (void)read_to_end(rude);
    const auto why = ended_.take();
    ASSERT_TRUE(why);
    ASSERT_TRUE(is_clear(*why)) << why->message();
    if (i % 20 == 0) expect_service();
  }
  expect_service();
}

TEST_P(channel_noise, after_the_handshake_ends_that_channel_alone) {
  noise from;
  for (int i = 0; i < rounds; ++i) {
    SCOPED_TRACE(i);
    const unique_fd rude = raw();
    send_all(rude, hello_frame());
    for (auto frames = 1 + from.below(5); frames > 0; --frames) send_all(rude, from.next());
    ::shutdown(rude.get(), SHUT_WR);
    (void)read_to_end(rude);
    const auto why = ended_.take();
    ASSERT_TRUE(why);
    ASSERT_TRUE(is_clear(*why)) << why->message();
    if (i % 20 == 0) expect_service();
  }
  expect_service();
}

TEST_P(channel_noise, is_answered_with_its_reason) {
  const unique_fd rude = raw();
  send_all(rude, hello_frame());
  send_all(rude, bytes(200, std::byte{0xa5}));
  EXPECT_NE(read_to_end(rude).find("wrong magic"), std::string::npos);
  EXPECT_EQ(ended_.take()->code, errc::corrupt);
  expect_service();
}

TEST_P(channel_noise, large_frame_before_the_handshake_is_refused_by_its_header) {
  message large = hello_message(test_instance(), std::nullopt);
  frame_fields fields = control_fields(frame_kind::hello, large);
  fields.data_size = 1 << 20;  // none of which comes
  const unique_fd rude = raw();
  send_all(rude, frame_of(fields, large));
  EXPECT_NE(read_to_end(rude).find("over the limit"), std::string::npos);
  EXPECT_EQ(ended_.take()->code, errc::frame_too_large);
  expect_service();
}

// --- records ------------------------------------------------------------------------------------

class channel_records : public testing::Test {
 protected:
  void SetUp() override {
    if (std::getenv("FERRY_TEST_NO_FILTER") != nullptr) {
      GTEST_SKIP() << "expected: no seccomp filter may be added here";
    }
    auto made = loop::create();
    if (!made) GTEST_SKIP() << "expected: " << made.error().message();
    loop_.emplace(*made);
    options_.loop = *made;
    options_.session.ring_bytes = 4096;
    options_.session.returns_cells = 16;
    options_.session.inline_limit = 512;
    auto pair = memory_channel_pair(test_instance("honest"), options_, options_);
    ASSERT_TRUE(pair);
    honest_ = std::move(*pair);
    honest_.second->on_message(
        [this](message&& asked) { (void)honest_.second->reply(asked, execution_success()); });
  }
  // One channel whose peer writes its ring by hand. `talk` puts the records.
  template <class Talk>
  void meet(Talk talk) {
    hostile_peer peer(plays::host);
    std::optional<channel_error> ended;
    channel_ptr chan;
    ASSERT_TRUE(adopt_channel_async(
        peer.victims_end(), true, test_instance(), options_, [&](channel_result&& made) {
          if (!made) {
            ended = made.error();
            return;
          }
          chan = *made;
          chan->on_closed([&](const channel_error& why) { ended = why; });
        }));
    ASSERT_TRUE(peer.send_hello());
    ASSERT_TRUE(peer.take_hello());
    talk(peer);
    for (int turns = 0; turns < 4 && !ended; ++turns) ASSERT_TRUE(loop_->run_once(1ms));
    peer.hang_up();
    while (!ended) ASSERT_TRUE(loop_->run_once(100ms));
    ASSERT_TRUE(is_clear(*ended)) << ended->message();
    ASSERT_TRUE(honest_.first->request(ack(), generous));
  }
  static void put_hello(hostile_peer& peer) {
    const message hello = hello_message(test_instance(), std::nullopt);
    const frame_fields fields = control_fields(frame_kind::hello, hello);
    std::string head(fields.head_size, ' ');
    write_head(hello, std::as_writable_bytes(std::span(head)));
    peer.put(record_for(fields, fields.head_size), head);
  }
  static raw_record record_for(const frame_fields& fields, std::uint32_t size) {
    raw_record record;
    record.kind = 32;
    record.call = fields.request_id;
    record.deadline_ns = fields.time_ms;
    record.function = fields.head_size;
    record.spare = fields.code;
    record.flags = fields.flags;
    record.code = static_cast<std::uint16_t>(fields.kind | fields.status << 8);
    record.inline_size = size;
    return record;
  }
  static void put_noise(hostile_peer& peer, noise& from) {
    const bytes body = from.any(120);
    frame_fields fields;
    fields.kind = static_cast<std::uint8_t>(from.below(3) == 0   ? from.below(256)
                                            : from.below(2) == 0 ? 1 + from.below(7)
                                                                 : 64 + from.below(7));
    fields.flags = static_cast<std::uint8_t>(from.below(16));
    fields.status = static_cast<std::uint8_t>(from.below(6));
    fields.request_id = from.below(3);
    fields.head_size = static_cast<std::uint32_t>(from.below(2) == 0 ? 0 : from.below(140));
    raw_record record = record_for(fields, static_cast<std::uint32_t>(body.size()));
    if (from.below(8) == 0) record.kind = static_cast<std::uint8_t>(from.below(40));
    if (from.below(8) == 0) record.body_segment = static_cast<std::uint32_t>(from.below(3));
    if (from.below(16) == 0) record.inline_size = static_cast<std::uint32_t>(from.below(8192));
    peer.put(record, {reinterpret_cast<const char*>(body.data()), body.size()});
  }

  std::optional<ferry::loop> loop_;
  channel_options options_;
  std::pair<channel_ptr, channel_ptr> honest_;
};

TEST_F(channel_records, of_noise_before_the_handshake_end_that_channel_alone) {
  noise from;
  for (int i = 0; i < rounds; ++i) {
    SCOPED_TRACE(i);
    meet([&](hostile_peer& peer) { put_noise(peer, from); });
    if (HasFatalFailure()) return;
  }
}

TEST_F(channel_records, of_noise_after_the_handshake_end_that_channel_alone) {
  noise from;
  for (int i = 0; i < rounds; ++i) {
    SCOPED_TRACE(i);
    meet([&](hostile_peer& peer) {
      put_hello(peer);
      for (auto records = 1 + from.below(10); records > 0; --records) put_noise(peer, from);
    });
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace ferry
