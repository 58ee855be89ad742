#include "engine/channel/factory/channel_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <random>
#include <semaphore>
#include <thread>

#include "tests/unit/factory/fake_world.h"

namespace ferry {
namespace {

const runtime_instance_id one = instance_of("process:one");
const runtime_instance_id two = instance_of("process:two");

creation_result fresh(const runtime_instance_id& instance) {
  return channel_ptr(std::make_shared<fake_channel>(instance, "unix"));
}

channel_pool::maker making(const runtime_instance_id& instance) {
  return [&instance](const std::function<bool()>&) { return fresh(instance); };
}

void break_link(const channel_ptr& chan) { dynamic_cast<fake_channel&>(*chan).break_link(); }
void lose_peer(const channel_ptr& chan) { dynamic_cast<fake_channel&>(*chan).lose_peer(); }
bool was_closed(const channel_ptr& chan) { return dynamic_cast<fake_channel&>(*chan).was_closed(); }

// Lets a test hold a creation at its middle.
struct gate {
  std::binary_semaphore entered{0};
  std::binary_semaphore open{0};

  channel_pool::maker around(channel_pool::maker make) {
    return [this, make = std::move(make)](const std::function<bool()>& given_up) {
      entered.release();
      open.acquire();
      return make(given_up);
    };
  }
};

TEST(pool, gives_one_channel_to_all_who_ask_for_one_instance) {
  channel_pool pool(10);
  const auto first = pool.get(one, making(one));
  const auto again = pool.get(one, making(one));
  const auto other = pool.get(two, making(two));
  ASSERT_TRUE(first && again && other);
  EXPECT_EQ(*first, *again);
  EXPECT_NE(*first, *other);
  EXPECT_EQ(pool.size(), 2u);
  EXPECT_EQ(pool.instances(), (std::vector{one, two}));
}

TEST(pool, lets_those_who_ask_meanwhile_wait_for_the_one_channel) {
  channel_pool pool(10);
  gate middle;
  std::atomic<int> made = 0;
  const auto counted = [&made](const std::function<bool()>&) {
    ++made;
    return fresh(one);
  };
  auto first =
      std::async(std::launch::async, [&] { return pool.get(one, middle.around(counted)); });
  middle.entered.acquire();
  EXPECT_FALSE(pool.has(one));
  // No lock is held while the first one connects.
  ASSERT_TRUE(pool.get(two, making(two)));
  std::vector<std::future<creation_result>> others;
  for (int i = 0; i < 4; ++i) {
    others.push_back(std::async(std::launch::async, [&] { return pool.get(one, counted); }));
  }
  middle.open.release();
  const auto chan = first.get();
  ASSERT_TRUE(chan);
  for (auto& other : others) EXPECT_EQ(*other.get(), *chan);
  EXPECT_EQ(made, 1);
}

TEST(pool, replaces_a_channel_that_has_died_and_counts_it) {
  channel_pool pool(10);
  const auto first = pool.get(one, making(one));
  EXPECT_EQ(pool.stats_of(one)->reconnects, 0u);
  break_link(*first);
  EXPECT_FALSE(pool.has(one));
  EXPECT_EQ(pool.size(), 0u);
  const auto second = pool.get(one, making(one));
  ASSERT_TRUE(second);
  EXPECT_NE(*first, *second);
  EXPECT_TRUE(was_closed(*first));
  EXPECT_TRUE(pool.has(one));
  EXPECT_EQ(pool.stats_of(one)->reconnects, 1u);
}

TEST(pool, replaces_a_channel_that_has_not_noticed_that_its_peer_has_gone) {
  channel_pool pool(1);
  const auto first = pool.get(one, making(one));
  lose_peer(*first);
  EXPECT_FALSE(pool.has(one));
  EXPECT_EQ(pool.size(), 0u);
  const auto second = pool.get(one, making(one));
  ASSERT_TRUE(second);
  EXPECT_NE(*first, *second);
  EXPECT_FALSE(was_closed(*first));  // whoever shares it may receive what came before
  EXPECT_EQ(pool.stats_of(one)->reconnects, 1u);
  EXPECT_EQ(pool.get(two, making(two)).error().code, errc::limit);
  lose_peer(*second);
  EXPECT_TRUE(pool.get(two, making(two)));  // in its place
}

TEST(pool, counts_a_replacement_once_however_often_it_failed_before) {
  channel_pool pool(10);
  const auto failing = [](const std::function<bool()>&) -> creation_result {
    return creation_failure();
  };
  break_link(*pool.get(one, making(one)));
  EXPECT_FALSE(pool.get(one, failing));
  EXPECT_FALSE(pool.get(one, failing));
  EXPECT_FALSE(pool.stats_of(one));
  EXPECT_TRUE(pool.get(one, making(one)));
  EXPECT_EQ(pool.stats_of(one)->reconnects, 1u);
  break_link(*pool.get(one, making(one)));
  EXPECT_FALSE(pool.get(one, failing));
  EXPECT_FALSE(pool.close(one));  // there is none, nor is one being made
  EXPECT_EQ(pool.close_all(), 0u);
}

TEST(pool, tells_those_who_wait_at_once_when_the_channel_is_closed_while_it_is_made) {
  channel_pool pool(10);
  gate middle;
  auto first =
      std::async(std::launch::async, [&] { return pool.get(one, middle.around(making(one))); });
  middle.entered.acquire();
  std::vector<std::future<creation_result>> others;
  for (int i = 0; i < 2; ++i) {
    others.push_back(std::async(std::launch::async, [&] {
      return pool.get(one, [](const std::function<bool()>&) -> creation_result {
        creation_failure why;
        why.code = errc::closed;  // came too late to wait
        return why;
      });
    }));
  }
  EXPECT_TRUE(pool.close(one));
  for (auto& other : others) EXPECT_EQ(other.get().error().code, errc::closed);
  middle.open.release();
  EXPECT_EQ(first.get().error().code, errc::closed);
}

TEST(pool, tells_a_failure_to_all_who_waited_and_tries_again_next_time) {
  channel_pool pool(10);
  gate middle;
  const auto failing = [](const std::function<bool()>&) -> creation_result {
    creation_failure why;
    why.text = "as the test says";
    return why;
  };
  auto first =
      std::async(std::launch::async, [&] { return pool.get(one, middle.around(failing)); });
  middle.entered.acquire();
  auto other = std::async(std::launch::async, [&] { return pool.get(one, failing); });
  middle.open.release();
  EXPECT_EQ(first.get().error().text, "as the test says");
  EXPECT_EQ(other.get().error().text, "as the test says");
  EXPECT_TRUE(pool.get(one, making(one)));
}

TEST(pool, tells_all_who_waited_of_a_maker_that_throws_and_tries_again_next_time) {
  channel_pool pool(1);
  gate middle;
  const auto throwing = [](const std::function<bool()>&) -> creation_result {
    throw std::runtime_error("as the test says");
  };
  auto first =
      std::async(std::launch::async, [&] { return pool.get(one, middle.around(throwing)); });
  middle.entered.acquire();
  auto other = std::async(std::launch::async, [&] { return pool.get(one, throwing); });
  middle.open.release();
  for (auto* each : {&first, &other}) {
    const auto outcome = each->get();
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, errc::connection_failed);
    EXPECT_EQ(outcome.error().text, "as the test says");
  }
  EXPECT_FALSE(pool.get(one, [](const auto&) -> creation_result { throw 7; }));
  EXPECT_TRUE(pool.get(one, making(one)));
}

TEST(pool, closes_what_it_holds) {
  channel_pool pool(10);
  const auto first = pool.get(one, making(one));
  const auto second = pool.get(two, making(two));
  EXPECT_TRUE(pool.close(one));
  EXPECT_TRUE(was_closed(*first));
  EXPECT_FALSE(pool.close(one));
  EXPECT_FALSE(pool.has(one));
  EXPECT_TRUE(pool.has(two));
  EXPECT_EQ(pool.close_all(), 1u);
  EXPECT_TRUE(was_closed(*second));
  EXPECT_EQ(pool.close_all(), 0u);
}

TEST(pool, gives_up_a_creation_that_is_closed_meanwhile_and_spares_its_successor) {
  channel_pool pool(10);
  gate middle;
  channel_ptr late;
  auto first = std::async(std::launch::async, [&] {
    return pool.get(one, middle.around([&](const std::function<bool()>& given_up) {
      EXPECT_TRUE(given_up());
      auto made = fresh(one);
      late = *made;
      return made;
    }));
  });
  middle.entered.acquire();
  EXPECT_TRUE(pool.close(one));
  const auto successor = pool.get(one, making(one));
  ASSERT_TRUE(successor);
  middle.open.release();
  const auto outcome = first.get();
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, errc::closed);
  EXPECT_TRUE(was_closed(late));
  EXPECT_TRUE(pool.has(one));
  EXPECT_FALSE(was_closed(*successor));
}

TEST(pool, refuses_a_request_from_within_the_making_of_the_same_channel) {
  channel_pool pool(10);
  errc inside{};
  const auto made = pool.get(one, [&](const std::function<bool()>&) {
    inside = pool.get(one, making(one)).error().code;
    return fresh(one);
  });
  EXPECT_TRUE(made);
  EXPECT_EQ(inside, errc::invalid_request);
}

TEST(pool, holds_no_more_than_its_limit_and_makes_room_of_the_dead) {
  channel_pool pool(1);
  const auto first = pool.get(one, making(one));
  ASSERT_TRUE(first);
  EXPECT_EQ(pool.get(two, making(two)).error().code, errc::limit);
  break_link(*first);
  EXPECT_TRUE(pool.get(two, making(two)));
  EXPECT_TRUE(was_closed(*first));
}

// Threads that get, break and close at random. Whatever they do: a channel that nobody broke or
// closed is the one that everybody gets, and of each instance at most one is alive at the end.
TEST(pool, keeps_one_living_channel_per_instance_under_random_load) {
  const auto seed = std::random_device{}();
  RecordProperty("seed", std::to_string(seed));
  SCOPED_TRACE("seed " + std::to_string(seed));
  constexpr int thread_count = 4, steps = 2000, instance_count = 3;
  channel_pool pool(100);
  std::vector<runtime_instance_id> ids;
  for (int i = 0; i < instance_count; ++i) {
    ids.push_back(instance_of(("process:id" + std::to_string(i)).c_str()));
  }
  std::mutex mutex;
  std::vector<std::shared_ptr<fake_channel>> all;
  const auto work = [&](unsigned number) {
    std::mt19937 random(seed + number);
    for (int step = 0; step < steps; ++step) {
      const auto which = random() % instance_count;
      const auto what = random() % 16;
      if (what == 0) {
        pool.close(ids[which]);
        continue;
      }
      auto got = pool.get(ids[which], [&](const std::function<bool()>&) {
        auto made = std::make_shared<fake_channel>(ids[which], "unix");
        {
          const std::lock_guard lock(mutex);
          all.push_back(made);
        }
        std::this_thread::yield();
        return creation_result(channel_ptr(made));
      });
      if (!got) {
        EXPECT_EQ(got.error().code, errc::closed);
      } else {
        EXPECT_EQ((*got)->instance_id(), ids[which]);
        if (what == 1) break_link(*got);
      }
    }
  };
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < thread_count; ++i) threads.emplace_back(work, i);
  threads.clear();
  std::size_t alive = 0;
  for (const auto& chan : all) alive += chan->is_connected() ? 1 : 0;
  EXPECT_EQ(alive, pool.size());
  pool.close_all();
  for (const auto& chan : all) EXPECT_FALSE(chan->is_connected());
}

}  // namespace
}  // namespace ferry
