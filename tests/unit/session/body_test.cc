#include "engine/body.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/session/session_pair.h"

namespace ferry {
namespace {

struct counting_owner final : body_owner {
  void give_back(const std::byte* data, std::uint32_t id) noexcept override {
    ++returns;
    last_data = data;
    last_id = id;
  }
  int returns = 0;
  const std::byte* last_data = nullptr;
  std::uint32_t last_id = 0;
};

std::vector<std::byte> some_bytes(std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + 1);
  return bytes;
}

bool same(std::span<const std::byte> a, std::span<const std::byte> b) {
  return std::ranges::equal(a, b);
}

// As in a ring, where a body has its cache lines to itself.
std::vector<std::byte> in_whole_lines(std::vector<std::byte> bytes) {
  bytes.resize(bytes.size() / cache_line_bytes * cache_line_bytes + cache_line_bytes);
  return bytes;
}

// --- body ---------------------------------------------------------------------------------------

TEST(body, of_nothing_is_empty) {
  body none;
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.size(), 0u);
  EXPECT_EQ(none.text(), "");
  EXPECT_FALSE(none.borrowed());
}

TEST(body, that_is_tiny_is_a_copy_in_the_object) {
  for (std::size_t size = 0; size <= body::tiny_bytes; ++size) {
    auto bytes = some_bytes(size);
    body copy = body::tiny(bytes);
    const auto before = bytes;
    std::ranges::fill(bytes, std::byte{0xff});
    EXPECT_TRUE(same(copy.bytes(), before)) << size;
    EXPECT_FALSE(copy.borrowed());
    const body moved(std::move(copy));
    EXPECT_TRUE(same(moved.bytes(), before)) << size;
    EXPECT_TRUE(copy.empty());
  }
}

TEST(body, goes_back_to_its_owner_once_with_what_it_was_given) {
  const auto owner = std::make_shared<counting_owner>();
  const auto bytes = some_bytes(100);
  {
    const body lent(bytes, owner, 42);
    EXPECT_TRUE(lent.borrowed());
    EXPECT_EQ(lent.data(), bytes.data());
    EXPECT_EQ(lent.size(), 100u);
    EXPECT_EQ(owner->returns, 0);
  }
  EXPECT_EQ(owner->returns, 1);
  EXPECT_EQ(owner->last_data, bytes.data());
  EXPECT_EQ(owner->last_id, 42u);
  EXPECT_EQ(owner.use_count(), 1);
}

TEST(body, goes_back_once_however_often_it_moves) {
  const auto owner = std::make_shared<counting_owner>();
  const auto bytes = some_bytes(100);
  {
    body first(bytes, owner, 1);
    body second(std::move(first));
    body third;
    third = std::move(second);
    std::vector<body> shelf;
    shelf.push_back(std::move(third));
    for (int i = 0; i < 20; ++i) shelf.emplace_back();  // moves them all
    EXPECT_EQ(owner->returns, 0);
    EXPECT_TRUE(same(shelf.front().bytes(), bytes));
    EXPECT_TRUE(first.empty() && second.empty() && third.empty());
    EXPECT_FALSE(first.borrowed());
  }
  EXPECT_EQ(owner->returns, 1);
}

TEST(body, that_is_assigned_over_goes_back_first) {
  const auto owner = std::make_shared<counting_owner>();
  const auto bytes = some_bytes(100);
  body lent(bytes, owner, 1);
  lent = body::tiny(some_bytes(3));
  EXPECT_EQ(owner->returns, 1);
  EXPECT_EQ(lent.size(), 3u);
  EXPECT_FALSE(lent.borrowed());
  lent = body(bytes, owner, 2);
  EXPECT_TRUE(same(lent.bytes(), bytes));
  EXPECT_EQ(owner->returns, 1);
}

TEST(body, survives_a_move_to_itself) {
  const auto owner = std::make_shared<counting_owner>();
  const auto bytes = some_bytes(100);
  body lent(bytes, owner, 1);
  body& same_one = lent;
  lent = std::move(same_one);
  EXPECT_TRUE(same(lent.bytes(), bytes));
  EXPECT_EQ(owner->returns, 0);
  body tiny = body::tiny(some_bytes(64));
  body& same_tiny = tiny;
  tiny = std::move(same_tiny);
  EXPECT_TRUE(same(tiny.bytes(), some_bytes(64)));
}

TEST(body, keeps_its_owner_alive) {
  auto owner = std::make_shared<counting_owner>();
  const std::weak_ptr<counting_owner> watch = owner;
  const auto bytes = some_bytes(100);
  {
    const body lent(bytes, std::move(owner), 1);
    EXPECT_FALSE(watch.expired());
  }
  EXPECT_TRUE(watch.expired());
}

TEST(body, in_a_snapshot_is_a_copy_of_any_size) {
  core_pair cores;
  for (const std::size_t size : {0ul, 1ul, 64ul, 65ul, 2'048ul, 2'049ul, 100'000ul}) {
    const auto before = some_bytes(size);
    auto bytes = in_whole_lines(before);
    const body copy = cores.host->snapshot(std::span(bytes).first(size));
    std::ranges::fill(bytes, std::byte{0xff});
    EXPECT_TRUE(same(copy.bytes(), before)) << size;
    EXPECT_FALSE(copy.borrowed()) << size;
  }
}

TEST(body, in_a_snapshot_outlives_its_session) {
  body kept;
  {
    core_pair cores;
    const auto bytes = in_whole_lines(some_bytes(1'000));
    kept = cores.host->snapshot(std::span(bytes).first(1'000));
    cores.host->close();
  }
  EXPECT_TRUE(same(kept.bytes(), some_bytes(1'000)));
}

// --- loan ---------------------------------------------------------------------------------------

TEST(loan, of_any_size_is_memory_to_write) {
  core_pair cores;
  for (const std::size_t size : {0ul, 1ul, 2'048ul, 2'049ul, 1'000'000ul}) {
    auto made = cores.host->borrow(size);
    ASSERT_TRUE(made);
    EXPECT_EQ(made->size(), size);
    std::ranges::fill(made->bytes(), std::byte{1});
  }
}

TEST(loan, goes_back_when_it_is_dropped_moved_over_or_moved_along) {
  core_pair cores;
  body_arena& arena = cores.host->arena();
  {
    auto first = cores.host->borrow(10'000);
    auto second = cores.host->borrow(20'000);
    ASSERT_TRUE(first && second);
    EXPECT_EQ(arena.stats().allocated_blocks, 2u);
    *first = std::move(*second);
    EXPECT_EQ(arena.stats().allocated_blocks, 1u);
    EXPECT_EQ(first->size(), 20'000u);
    EXPECT_EQ(second->size(), 0u);
    loan third(std::move(*first));
    EXPECT_EQ(arena.stats().allocated_blocks, 1u);
    EXPECT_EQ(first->data(), nullptr);
    loan& same_one = third;
    third = std::move(same_one);
    EXPECT_EQ(third.size(), 20'000u);
    EXPECT_EQ(arena.stats().allocated_blocks, 1u);
  }
  EXPECT_EQ(arena.stats().allocated_blocks, 0u);
}

TEST(loan, that_was_shrunk_goes_back_whole) {
  core_pair cores;
  {
    auto made = cores.host->borrow(100'000);
    ASSERT_TRUE(made);
    made->shrink(10);
    EXPECT_EQ(made->size(), 10u);
    made->shrink(0);
    EXPECT_EQ(made->bytes().size(), 0u);
  }
  EXPECT_EQ(cores.host->arena().stats().allocated_bytes, 0u);
  auto other = cores.host->borrow(100'000);
  EXPECT_TRUE(other);
}

TEST(loan, that_was_sent_is_empty_and_cannot_be_sent_again) {
  core_pair cores;
  for (const std::size_t size : {10ul, 10'000ul}) {
    auto made = cores.host->borrow(size);
    ASSERT_TRUE(made);
    record_fields fields;
    fields.kind = record_kind::call;
    EXPECT_TRUE(cores.host->send(fields, *made));
    EXPECT_EQ(cores.host->send(fields, *made).error().code, errc::bad_argument) << size;
  }
  EXPECT_EQ(cores.host->lent().outstanding(), 1u);  // the large one; the small one was copied
}

TEST(loan, of_one_session_is_refused_by_another_and_still_there) {
  core_pair cores;
  auto made = cores.host->borrow(10'000);
  ASSERT_TRUE(made);
  record_fields fields;
  fields.kind = record_kind::reply;
  EXPECT_EQ(cores.worker->send(fields, *made).error().code, errc::bad_argument);
  EXPECT_EQ(made->size(), 10'000u);
  EXPECT_TRUE(cores.host->send(fields, *made));
}

TEST(loan, that_found_no_room_can_be_sent_later) {
  session_options tiny;
  tiny.ring_bytes = 4096;
  tiny.inline_limit = 256;
  core_pair cores(tiny);
  record_fields fields;
  fields.kind = record_kind::call;
  while (cores.host->send(fields)) {
  }
  const std::size_t lent = cores.host->lent().outstanding();
  {
    auto made = cores.host->borrow(10'000);
    ASSERT_TRUE(made);
    EXPECT_EQ(cores.host->send(fields, *made).error().code, errc::full);
    EXPECT_EQ(made->size(), 10'000u);
    EXPECT_EQ(cores.host->send(fields, *made).error().code, errc::full);
  }
  EXPECT_EQ(cores.host->lent().outstanding(), lent);  // dropped unsent: out of the book again
  EXPECT_EQ(cores.host->arena().stats().allocated_blocks, 0u);
}

TEST(loan, outlives_its_session_and_may_go_on_another_thread) {
  loan kept;
  {
    core_pair cores;
    kept = std::move(*cores.host->borrow(10'000));
    cores.host->close();
    EXPECT_EQ(cores.host->borrow(10).error().code, errc::closed);
  }
  std::ranges::fill(kept.bytes(), std::byte{1});
  std::thread([dropped = std::move(kept)] {}).join();
}

TEST(loan, beyond_the_returns_ring_of_the_peer_is_full) {
  session_options few;
  few.returns_cells = 16;
  core_pair cores({}, few);
  record_fields fields;
  fields.kind = record_kind::call;
  std::size_t sent = 0;
  for (; sent < 20; ++sent) {
    auto made = cores.host->borrow(5'000);
    ASSERT_TRUE(made);
    if (auto done = cores.host->send(fields, *made); !done) {
      EXPECT_EQ(done.error().code, errc::full);
      break;
    }
  }
  // An eighth less than there are cells: so many may be read and not yet given back.
  EXPECT_EQ(sent, 14u);
}

}  // namespace
}  // namespace ferry
