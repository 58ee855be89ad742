// stand-in
#pragma once
#include <memory>
#include <type_traits>
#include <utility>
namespace ferry {
class unique_function {
 public:
  unique_function() = default;
  template <class F>
  requires(!std::is_same_v<std::decay_t<F>, unique_function>) unique_function(F&& f)
      : held_(std::make_unique<holder<std::decay_t<F>>>(std::forward<F>(f))) {}
  void operator()() { held_->run(); }
  explicit operator bool() const noexcept { return held_ != nullptr; }

 private:
  struct base {
    virtual ~base() = default;
    virtual void run() = 0;
  };
  template <class F>
  struct holder final : base {
    explicit holder(F f) : call(std::move(f)) {}
    void run() override { call(); }
    F call;
  };
  std::unique_ptr<base> held_;
};
}  // namespace ferry
