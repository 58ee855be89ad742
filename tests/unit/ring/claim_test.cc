#include "ring/claim.h"

#include <gtest/gtest.h>

#include <functional>
#include <utility>

namespace ferry {
namespace {

// std::atomic with a hook before each load: what another thread does between two lines of ours, on
// one thread and in the order that the test wants.
struct hooked_atomics {
  static inline std::function<void(const void*)> before_load;

  template <class T>
  class atomic {
   public:
    atomic() = default;
    atomic(T value) : value_(value) {}
    T load(std::memory_order = std::memory_order_seq_cst) const {
      if (before_load) before_load(this);
      return value_;
    }
    void store(T value, std::memory_order = std::memory_order_seq_cst) { value_ = value; }
    bool compare_exchange_weak(T& expected, T desired, std::memory_order) {
      if (value_ != expected) return expected = value_, false;
      return value_ = desired, true;
    }

   private:
    T value_;
  };
};

struct hooked_room {
  explicit hooked_room(std::uint64_t start = 0) : consumed{start}, room(consumed, 16, start) {}
  ~hooked_room() { hooked_atomics::before_load = nullptr; }

  // Runs `other` once, before the nth load from now on.
  void before_load(int nth, std::function<void()> other) {
    hooked_atomics::before_load = [nth, other = std::move(other)](const void*) mutable {
      if (--nth == 0) std::exchange(other, [] {})();
    };
  }
  result<ferry::room<hooked_atomics>::claim> claim(std::uint64_t size = 1) {
    return room.try_claim([size](std::uint64_t) { return size; });
  }

  cursor<hooked_atomics> consumed;
  ferry::room<hooked_atomics> room;
};

TEST(claim, holds_an_honest_consumer_for_honest_however_long_ago_its_position_was_read) {
  // One thread of ours reads the consumer's position and stalls; the consumer frees the ring and
  // other threads fill it again; then the first thread goes on, with a position laps behind.
  bool stalled_there = false;
  int stalls = 0;
  for (const std::uint64_t start : {std::uint64_t{0}, ~std::uint64_t{0} - 15}) {
    for (int nth = 1; nth < 12; ++nth) {
      hooked_room side(start);
      ASSERT_TRUE(side.claim(16));
      side.before_load(nth, [&] {
        for (int lap = 1; lap < 3; ++lap) {
          side.consumed.position.store(start + static_cast<std::uint64_t>(lap) * 16);
          ASSERT_TRUE(side.claim(16));
        }
        stalled_there = true;
        ++stalls;
      });
      const auto claimed = side.claim(1);
      hooked_atomics::before_load = nullptr;
      ASSERT_FALSE(claimed);
      EXPECT_EQ(claimed.error().code, errc::full) << "stalled before load " << nth;
      if (!stalled_there) break;  // fewer loads than that
      stalled_there = false;
      side.consumed.position.store(start + 48);
      EXPECT_TRUE(side.claim(1));
    }
  }
  EXPECT_GE(stalls, 2 * 6);  // before each load of try_claim
}

TEST(claim, never_says_full_because_of_a_tail_that_is_old_news) {
  for (int nth = 1; nth < 12; ++nth) {
    hooked_room side;
    ASSERT_TRUE(side.claim(16));
    side.before_load(nth, [&] {
      side.consumed.position.store(16);
      ASSERT_TRUE(side.claim(16));
      side.consumed.position.store(32);
    });
    const auto claimed = side.claim(1);
    if (claimed) {
      EXPECT_EQ(claimed->position, 32u) << nth;
    } else {  // the ring was full when the position was read
      EXPECT_EQ(claimed.error().code, errc::full);
      EXPECT_GE(nth, 5) << "the position was read after it had moved";
    }
  }
}

TEST(claim, reports_no_more_in_use_than_there_is) {
  for (int nth = 1; nth < 3; ++nth) {
    hooked_room side;
    side.before_load(nth, [&] {
      for (std::uint64_t lap = 1; lap < 4; ++lap) {
        ASSERT_TRUE(side.claim(16));
        side.consumed.position.store(lap * 16);
      }
    });
    EXPECT_LE(side.room.in_use(), 16u);
  }
}

TEST(claim, fails_for_ever_once_the_position_was_impossible) {
  hooked_room side;
  ASSERT_TRUE(side.claim(15));
  side.consumed.position.store(16);
  EXPECT_EQ(side.claim(2).error().code, errc::corrupt);
  EXPECT_EQ(side.claim(1).error().code, errc::corrupt) << "though there was room for one";
  side.consumed.position.store(15);
  EXPECT_EQ(side.claim(1).error().code, errc::corrupt);
}

}  // namespace
}  // namespace ferry
