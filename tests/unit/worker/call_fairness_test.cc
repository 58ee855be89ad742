// Sessions that share a loop: a busy one does not keep others asleep.
#include "tests/unit/worker/one_process.h"

namespace ferry {
namespace {

inline const method<int(int)> echo{"echo"};

TEST(call_fairness, a_host_is_heard_though_the_loop_of_its_worker_never_rests) {
  worker w;
  w.function(echo, [](int value) { return value; });
  client first = attach_to(w);
  client second = attach_to(w);
  (void)w.run_once(20ms);
  EXPECT_EQ(w.run_once(20ms).value_or(9), 0u);  // both sleep now
  int done = 0;
  const auto note = [&](auto&& r) { done += r.has_value(); };
  ASSERT_TRUE(first.call_async(echo, note, 1));
  ASSERT_TRUE(second.call_async(echo, note, 2));
  EXPECT_TRUE(turn_until(w, first, [&] {
    w.loop().post([] {});
    (void)second.run_once();
    return done == 2;
  }));
}

TEST(call_fairness, a_client_is_heard_though_another_one_of_its_loop_never_rests) {
  worker w;
  w.function(echo, [](int value) { return value; });
  auto loop = loop::create();
  ASSERT_TRUE(loop);
  client_options options;
  options.loop = *loop;
  client busy = attach_to(w, options);
  client quiet = attach_to(w, options);
  const serving_thread serving(w);
  bool heard = false;
  ASSERT_TRUE(loop->run_once());
  (void)loop->run_once(20ms);
  ASSERT_TRUE(quiet.call_async(
      echo, [&](auto&&) { heard = true; }, 1));
  const auto deadline = std::chrono::steady_clock::now() + generous;
  while (!heard && std::chrono::steady_clock::now() < deadline) {
    loop->post([] {});
    ASSERT_TRUE(loop->run_once());
  }
  EXPECT_TRUE(heard);
}

}  // namespace
}  // namespace ferry
