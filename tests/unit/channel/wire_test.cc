#include "engine/channel/wire.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace ferry {
namespace {

constexpr std::uint64_t limit = 1 << 20;

std::vector<std::byte> head_of(const message& what) {
  std::vector<std::byte> head(fields_of(what).head_size);
  write_head(what, head);
  return head;
}

std::vector<std::byte> bytes_of(const frame_header& header) {
  std::vector<std::byte> bytes(sizeof header);
  std::memcpy(bytes.data(), &header, sizeof header);
  return bytes;
}

message full_message() {
  message what = execution_failure(7, "text", "trace");
  what.function = "function";
  what.metadata = {{"a", "1"}, {"", ""}};
  what.timeout_ms = 12;
  what.elapsed_ms = 34;
  what.request_id = 1ull << 60;
  return what;
}

TEST(channel_wire, every_field_of_a_message_survives) {
  const message sent = full_message();
  const frame_fields fields = fields_of(sent);
  const auto read = read_header(bytes_of(header_of(fields)), limit);
  ASSERT_TRUE(read);
  message got;
  ASSERT_TRUE(read_message(*read, head_of(sent), got));
  EXPECT_EQ(got.kind, sent.kind);
  EXPECT_EQ(got.outcome, sent.outcome);
  EXPECT_EQ(got.code, sent.code);
  EXPECT_EQ(got.request_id, sent.request_id);
  EXPECT_EQ(got.timeout_ms, sent.timeout_ms);
  EXPECT_EQ(got.elapsed_ms, sent.elapsed_ms);
  EXPECT_EQ(got.function, sent.function);
  EXPECT_EQ(got.text, sent.text);
  EXPECT_EQ(got.stack_trace, sent.stack_trace);
  EXPECT_EQ(got.metadata, sent.metadata);
}

TEST(channel_wire, record_carries_the_same_fields) {
  frame_fields fields = fields_of(full_message());
  fields.flags = frame_asks | frame_graceful;
  fields.data_size = 100;
  const auto read = read_record(record_of(fields), 100 + fields.head_size, limit);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->kind, fields.kind);
  EXPECT_EQ(read->flags, fields.flags);
  EXPECT_EQ(read->status, fields.status);
  EXPECT_EQ(read->code, fields.code);
  EXPECT_EQ(read->request_id, fields.request_id);
  EXPECT_EQ(read->time_ms, fields.time_ms);
  EXPECT_EQ(read->head_size, fields.head_size);
  EXPECT_EQ(read->data_size, fields.data_size);
  EXPECT_EQ(read_record(record_of(fields), fields.head_size - 1, limit).error().code,
            errc::corrupt);
}

TEST(channel_wire, headers_that_no_honest_peer_sends_are_refused) {
  const frame_header good = header_of(fields_of(ack()));
  ASSERT_TRUE(read_header(bytes_of(good), limit));
  const auto code_of = [](const frame_header& bad) {
    const auto read = read_header(bytes_of(bad), limit);
    return read ? errc{} : read.error().code;
  };
  frame_header bad = good;
  bad.magic ^= 1;
  EXPECT_EQ(code_of(bad), errc::corrupt);
  bad = good;
  bad.version = 2;
  EXPECT_EQ(code_of(bad), errc::version_mismatch);
  for (const int kind : {0, 8, 31, 63, 71, 255}) {
    bad = good;
    bad.kind = static_cast<std::uint8_t>(kind);
    EXPECT_EQ(code_of(bad), errc::corrupt) << kind;
  }
  bad = good;
  bad.head_size = max_head_bytes + 1;
  EXPECT_EQ(code_of(bad), errc::corrupt);
  for (const std::uint64_t size : {limit + 1, std::uint64_t{UINT64_MAX}}) {
    bad = good;
    bad.data_size = size;
    EXPECT_EQ(code_of(bad), errc::frame_too_large);
  }
  bad = good;
  bad.data_size = limit;
  EXPECT_EQ(code_of(bad), errc{});
  bad.head_size = 1;
  EXPECT_EQ(code_of(bad), errc::frame_too_large);
}

TEST(channel_wire, outcome_that_does_not_exist_is_refused) {
  frame_fields fields = fields_of(execution_timeout(7));
  fields.status = 3;
  message got;
  EXPECT_EQ(read_message(fields, head_of(execution_timeout(7)), got).error().code, errc::corrupt);
  EXPECT_LE(got.outcome, execution_outcome::timeout);
}

TEST(channel_wire, head_cut_anywhere_or_changed_anywhere_is_survived) {
  const message sent = full_message();
  const frame_fields fields = fields_of(sent);
  const auto head = head_of(sent);
  for (std::size_t size = 0; size < head.size(); ++size) {
    message got;
    (void)read_message(fields, std::span(head).first(size), got);
  }
  std::mt19937 random(7);
  for (int i = 0; i < 20'000; ++i) {
    auto changed = head;
    for (int k = 0; k < 3; ++k) {
      changed[random() % changed.size()] = static_cast<std::byte>(random());
    }
    message got;
    (void)read_message(fields, changed, got);
    EXPECT_LE(got.text.size() + got.function.size() + got.stack_trace.size(), head.size());
  }
}

TEST(channel_wire, health_travels_and_nonsense_is_told) {
  health_report report;
  report.status = health_status::degraded;
  report.reason = "busy";
  report.metrics = {12.5, 1 << 20, 3, 400, 1.5, 99};
  const auto read = health_of(health_response(report));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->reason, "busy");
  EXPECT_EQ(read->metrics.cpu_percent, 12.5);
  EXPECT_EQ(read->metrics.active_requests, 3u);
  EXPECT_EQ(read->metrics.total_requests, 400u);
  message bad = health_response(report);
  bad.data = payload::copy_of("short");
  EXPECT_EQ(health_of(bad).error().code, errc::corrupt);
  bad = health_response(report);
  bad.status = static_cast<health_status>(9);
  EXPECT_EQ(health_of(bad).error().code, errc::corrupt);
  EXPECT_EQ(health_of(ack()).error().code, errc::corrupt);
}

}  // namespace
}  // namespace ferry
