// The fixture of the stream tests.
#pragma once
#include "tests/e2e/e2e.h"
#include "tests/e2e/stream_methods.h"

namespace ferry {

class streams_test : public e2e {
 protected:
  static launched start_streams(client_options options = {}) {
    launch_options all;
    all.client = std::move(options);
    auto started = launch({neighbour("stream-worker")}, std::move(all));
    if (!started) throw std::runtime_error(started.error().message());
    return std::move(*started);
  }
  // Reads to the end; what came, and the error if it ended with one.
  template <class T, class E>
  static std::pair<std::vector<T>, std::optional<call_error>> all_of(stream<T, E>& from) {
    std::vector<T> out;
    for (;;) {
      auto next = from.read();
      if (!next) return {std::move(out), std::move(next).error()};
      if (!*next) return {std::move(out), std::nullopt};
      out.push_back(std::move(**next));
    }
  }
  template <class T, class E>
  static void expect_end(stream<T, E>& from) {
    for (int again = 0; again < 3; ++again) {
      const auto next = from.read();
      ASSERT_TRUE(next) << next.error().message();
      EXPECT_FALSE(*next);
    }
  }
  static void expect_nothing_left(client& host) {
    EXPECT_TRUE(eventually([&] {
      (void)host.run_once();
      const client_stats now = host.stats();
      return now.calls_in_flight == 0 && now.streams_open == 0 && now.bodies_lent == 0;
    }));
  }
  static int stops_of(client& host) { return host.call(streams::stopped).value_or(-1); }
};

}  // namespace ferry
