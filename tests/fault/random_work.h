// What a host does while it or its worker is about to be killed: small calls, large loans both
// ways, several in flight, answers held for a while. All of it from one seed.
// Threads   one.
#pragma once
#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "engine/client/client.h"

namespace ferry {

class random_work {
 public:
  random_work(client& host, unsigned seed) : host_(host), random_(seed) {}

  // One random operation. False once the session is over; `failure` then says how it ended.
  bool step() {
    switch (random_() % 5) {
      case 0: return note(host_.call("echo", std::as_bytes(std::span(text_))));
      case 1: {
        auto argument = host_.loan(large());
        if (!argument) {  // no memory, or no session any more: only the next turn says which
          const auto turned = host_.run_once();
          return turned ? true : fail(turned.error());
        }
        std::memset(argument->data(), 7, std::min<std::size_t>(argument->size(), 4096));
        return note(host_.call("size", std::move(*argument)));
      }
      case 2: {
        const std::string wanted = std::to_string(large()) + " x";
        return note(host_.call("make", std::as_bytes(std::span(wanted))));
      }
      case 3: {
        const auto echo = host_.function("echo");
        if (!echo) return fail(echo.error());
        for (int i = 0; i < 16; ++i) {
          const auto started =
              host_.call_async(*echo, std::as_bytes(std::span(text_)), [this](call_result&& ended) {
                --in_flight;
                if (!ended) failure = ended.error();
              });
          if (!started) return fail(started.error());
          ++in_flight;
        }
        return true;
      }
      default: {
        const auto turned = host_.run_once(std::chrono::microseconds(random_() % 200));
        return turned ? true : fail(turned.error());
      }
    }
  }

  std::optional<call_error> failure;
  int in_flight = 0;
  std::vector<body> held;  // answers that outlive the worker

 private:
  std::size_t large() {
    return std::uniform_int_distribution<std::size_t>(64 << 10, 4 << 20)(random_);
  }
  bool note(call_result&& ended) {
    if (!ended) return fail(ended.error());
    if (held.size() < 8)
      held.push_back(std::move(*ended));
    else if (random_() % 4 == 0)
      held.clear();
    return true;
  }
  bool fail(const call_error& why) {
    failure = why;
    return false;
  }

  client& host_;
  std::mt19937 random_;
  std::string text_ = std::string(100, 'a');
};

}  // namespace ferry
