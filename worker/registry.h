// The functions of a worker, by number and by name.
// Threads   the thread that serves, or any one before that.
// Source    worker/README.md.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "worker/handler.h"
#include "worker/lanes.h"

namespace ferry {

class registry {
 public:
  static constexpr std::uint32_t streams_at_once = 64;  // of a function that names no concurrency

  // Keeps its number while the function behind it is replaced.
  struct place {
    std::uint32_t number;
    std::shared_ptr<const handler> function;
  };

  std::shared_ptr<const handler> prepare(handler made) {
    FERRY_CHECK(!made.name.empty() && made.run);
    const bool waits = made.kind != method_kind::unary && !made.options.on_serving_thread;
    if (!made.coroutine && (made.options.concurrency != 0 || waits)) {
      // Whoever waits for a stream must not keep the thread that serves from everybody else.
      if (made.options.concurrency == 0) made.options.concurrency = streams_at_once;
      made.lane = lanes_.add_lane({made.options.concurrency, made.options.queue_limit});
    }
    return std::make_shared<const handler>(std::move(made));
  }
  void put(std::shared_ptr<const handler> made) {
    auto& at = by_name_[made->name];
    if (!at) {
      at = std::make_shared<place>(place{static_cast<std::uint32_t>(by_number_.size()), nullptr});
      by_number_.push_back(at);
    }
    // It may be the very function that runs and registers: forgotten when none does.
    if (at->function) replaced_.push_back(std::move(at->function));
    at->function = std::move(made);
  }
  // No function runs on the thread that serves.
  void forget_replaced() noexcept {
    if (!replaced_.empty()) [[unlikely]]
      replaced_.clear();
  }
  const std::shared_ptr<place>* numbered(std::uint32_t number) const noexcept {
    return number < by_number_.size() ? &by_number_[number] : nullptr;
  }
  std::shared_ptr<place> named(std::string_view name) const {
    const auto known = by_name_.find(std::string(name));
    return known == by_name_.end() ? nullptr : known->second;
  }
  ferry::lanes& lanes() noexcept { return lanes_; }

  // Functions on the thread that serves which listen to the loop or wait, each inside the one
  // before: new calls of that thread's functions are put off.
  int inside = 0;
  std::uint32_t max_calls = 65536;  // of one host at once, of those that do not end on the spot

 private:
  std::vector<std::shared_ptr<place>> by_number_;
  std::vector<std::shared_ptr<const handler>> replaced_;
  std::unordered_map<std::string, std::shared_ptr<place>> by_name_;
  ferry::lanes lanes_;
};

}  // namespace ferry
