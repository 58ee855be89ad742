#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "engine/channel/frame_outbox.h"

namespace ferry {
namespace {

void push(frame_outbox& to, std::size_t size, char fill) {
  message what = execution_request({}, payload::copy_of(std::string(size, fill)));
  ASSERT_TRUE(to.push(fields_of(what), what, false));
}

// What a writer gets that writes at most `step` bytes at a time.
std::string drain(frame_outbox& from, std::size_t step) {
  std::string all;
  for (;;) {
    std::array<iovec, 4> pieces;
    const std::size_t count = from.begin_write(pieces);
    if (count == 0) return all;
    std::size_t written = 0;
    for (const iovec& each : std::span(pieces).first(count)) {
      const std::size_t part = std::min(each.iov_len, step - written);
      all.append(static_cast<const char*>(each.iov_base), part);
      written += part;
    }
    (void)from.end_write(static_cast<std::int64_t>(written));
    from.room();
  }
}

TEST(frame_outbox, frames_leave_whole_and_in_order_however_they_are_cut) {
  for (const std::size_t step : {1ul, 63ul, 1000ul, 1ul << 20}) {
    frame_outbox box(1 << 20);
    std::string expected;
    char fill = 'a';
    for (const std::size_t size : {0u, 1u, 1000u, 4096u, 4097u, 40'000u, 7u}) {
      message what = execution_request({}, payload::copy_of(std::string(size, fill)));
      const frame_fields fields = fields_of(what);
      const frame_header header = header_of(fields);
      expected.append(reinterpret_cast<const char*>(&header), sizeof header);
      expected.append(size, fill++);
      ASSERT_TRUE(box.push(fields, what, false));
      EXPECT_TRUE(what.data.empty());
    }
    EXPECT_EQ(box.queued(), expected.size());
    EXPECT_EQ(drain(box, step), expected) << step;
    EXPECT_EQ(box.queued(), 0u);
  }
}

TEST(frame_outbox, is_full_at_its_limit_but_takes_one_message_of_any_size) {
  frame_outbox box(1000);
  message what = execution_request({}, payload::copy_of(std::string(5000, 'x')));
  ASSERT_TRUE(box.push(fields_of(what), what, false));
  what = ack();
  EXPECT_EQ(box.push(fields_of(what), what, false).error().code, errc::full);
  EXPECT_TRUE(box.push(fields_of(what), what, true));  // what channels say among themselves
  std::array<iovec, 8> pieces;
  ASSERT_NE(box.begin_write(pieces), 0u);
  EXPECT_EQ(box.begin_write(pieces), 0u);  // one writer at a time
  EXPECT_TRUE(box.end_write(5128).made_room);
  EXPECT_TRUE(box.push(fields_of(what), what, false));
}

TEST(frame_outbox, stream_that_took_less_is_not_tried_again_before_it_has_room) {
  frame_outbox box(1 << 20);
  push(box, 100, 'x');
  std::array<iovec, 8> pieces;
  ASSERT_EQ(box.begin_write(pieces), 1u);
  EXPECT_FALSE(box.end_write(-EAGAIN).more);
  EXPECT_TRUE(box.full());
  EXPECT_EQ(box.begin_write(pieces), 0u);
  box.room();
  ASSERT_EQ(box.begin_write(pieces), 1u);
  EXPECT_EQ(pieces[0].iov_len, 164u);
  push(box, 100, 'y');  // while it is being written
  EXPECT_TRUE(box.end_write(164).more);
  ASSERT_EQ(box.begin_write(pieces), 1u);
  EXPECT_EQ(pieces[0].iov_len, 164u);
  (void)box.end_write(164);
  box.close();
  message what = ack();
  EXPECT_EQ(box.push(fields_of(what), what, true).error().code, errc::closed);
}

TEST(frame_outbox, staged_frames_go_behind_what_is_queued_when_they_settle) {
  frame_outbox box(1 << 20);
  std::string expected[2];
  const auto put = [&](bool stage, std::size_t size, char fill) {
    message what = execution_request({}, payload::copy_of(std::string(size, fill)));
    const frame_fields fields = fields_of(what);
    const frame_header header = header_of(fields);
    expected[stage].append(reinterpret_cast<const char*>(&header), sizeof header);
    expected[stage].append(size, fill);
    ASSERT_TRUE(stage ? box.stage(fields, what, false) : box.push(fields, what, false));
  };
  for (int round = 0; round < 3; ++round) {  // the later ones with chunks that were used before
    for (std::string& each : expected) each.clear();
    for (int i = 0; i < 50; ++i) {
      put(true, 1000, 's');
      put(false, 100, 'p');
    }
    put(true, 5000, 'l');
    EXPECT_EQ(box.queued(), expected[0].size() + expected[1].size());
    EXPECT_EQ(box.staged(), expected[1].size());
    EXPECT_EQ(drain(box, 1 << 20), expected[0]);
    EXPECT_TRUE(box.any());
    box.settle();
    EXPECT_EQ(box.staged(), 0u);
    EXPECT_EQ(drain(box, 7777), expected[1]);
    EXPECT_FALSE(box.any());
  }
  EXPECT_TRUE(box.has_spares());
  box.trim();
  EXPECT_FALSE(box.has_spares());
}

TEST(frame_outbox, staged_frames_count_towards_the_limit) {
  frame_outbox box(1000);
  message what = execution_request({}, payload::copy_of(std::string(900, 'x')));
  ASSERT_TRUE(box.stage(fields_of(what), what, false));
  what = ack();
  EXPECT_EQ(box.stage(fields_of(what), what, false).error().code, errc::full);
  EXPECT_EQ(box.push(fields_of(what), what, false).error().code, errc::full);
  EXPECT_TRUE(box.stage(fields_of(what), what, true));  // what channels say among themselves
  box.settle();
  std::array<iovec, 8> pieces;
  ASSERT_NE(box.begin_write(pieces), 0u);
  EXPECT_TRUE(box.end_write(964 + 64).made_room);
  box.close();
  EXPECT_EQ(box.stage(fields_of(what), what, true).error().code, errc::closed);
}

}  // namespace
}  // namespace ferry
