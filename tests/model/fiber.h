// A function that can stop in its middle and go on later, on a stack of its own and on one thread.
// Lifetime  a fiber that is never resumed to its end leaves its locals undestroyed: give such
//           functions only locals that own nothing.
#pragma once
#include <ucontext.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FERRY_TSAN_FIBERS 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define FERRY_TSAN_FIBERS 1
#endif
#ifdef FERRY_TSAN_FIBERS
#include <sanitizer/tsan_interface.h>
#endif

namespace ferry::explore {

class fiber {
 public:
  static constexpr std::size_t stack_bytes = 128 * 1024;

  fiber() : stack_(std::make_unique<std::byte[]>(stack_bytes)) {}
  fiber(const fiber&) = delete;
  ~fiber() { forget(); }

  void start(std::function<void()> body) {
    forget();
    body_ = std::move(body);
    done_ = false;
    ::getcontext(&inside_);
    inside_.uc_stack.ss_sp = stack_.get();
    inside_.uc_stack.ss_size = stack_bytes;
    inside_.uc_link = nullptr;
    const auto self = reinterpret_cast<std::uintptr_t>(this);  // makecontext passes ints only
    ::makecontext(&inside_, reinterpret_cast<void (*)()>(&fiber::enter), 2,
                  static_cast<unsigned>(self >> 32), static_cast<unsigned>(self));
#ifdef FERRY_TSAN_FIBERS
    tsan_inside_ = __tsan_create_fiber(0);
#endif
  }

  bool done() const { return done_; }

  void resume() {  // until the body suspends or ends
#ifdef FERRY_TSAN_FIBERS
    tsan_outside_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(tsan_inside_, 0);
#endif
    ::swapcontext(&outside_, &inside_);
  }

  void suspend() {  // called by the body
#ifdef FERRY_TSAN_FIBERS
    __tsan_switch_to_fiber(tsan_outside_, 0);
#endif
    ::swapcontext(&inside_, &outside_);
  }

 private:
  static void enter(unsigned high, unsigned low) {
    auto* self = reinterpret_cast<fiber*>(std::uintptr_t{high} << 32 | low);
    self->body_();
    self->done_ = true;
    self->suspend();  // for good
  }

  void forget() {
#ifdef FERRY_TSAN_FIBERS
    if (tsan_inside_ != nullptr) __tsan_destroy_fiber(std::exchange(tsan_inside_, nullptr));
#endif
  }

  std::unique_ptr<std::byte[]> stack_;
  std::function<void()> body_;
  ucontext_t inside_{};
  ucontext_t outside_{};
  bool done_ = true;
#ifdef FERRY_TSAN_FIBERS
  void* tsan_inside_ = nullptr;
  void* tsan_outside_ = nullptr;
#endif
};

}  // namespace ferry::explore
