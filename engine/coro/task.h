// A coroutine that runs when it is awaited, and everything needed to start some and wait for them.
//
//   ferry::task<int> twice(ferry::task<int> part) { co_return 2 * co_await std::move(part); }
//
// Starting  awaiting a task starts it, once; start() and spawn() start one from ordinary code.
// Cancel    destroying a task destroys its frame and with that all that it awaits: nothing of it
//           runs any more. Never from inside the task itself.
// Threads   one: a task runs on the thread that resumes what it waits for, always the same one.
// Stack     grows with the depth of awaits, as with ordinary calls, never with their number.
// Errors    an exception that leaves a task is thrown at its await. Where nobody awaits (spawn,
//           start) it ends the process (std::terminate). Awaiting an empty task is a broken
//           precondition (CHECK).
// Source    engine/README.md, "Coroutines".
#pragma once
#include <array>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "engine/coro/frame_pool.h"
#include "shm/check.h"

namespace ferry {

template <class T = void>
class task;

namespace detail {

// void, where a value is needed.
template <class T>
using task_value = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

// How a coroutine ended: with a value, or with an exception.
template <class T>
class outcome {
 public:
  template <class... U>
  void value(U&&... from) {
    state_.template emplace<1>(std::forward<U>(from)...);
  }
  void caught() noexcept { state_.template emplace<2>(std::current_exception()); }
  T take() {
    if (state_.index() == 2) std::rethrow_exception(std::get<2>(state_));
    return std::get<1>(std::move(state_));
  }

 private:
  std::variant<std::monostate, T, std::exception_ptr> state_;
};

// Who awaits a task may still be on the stack when the task ends. Were it resumed from there, each
// await of a ready task would deepen the stack wherever the compiler makes no tail calls: g++ 12
// without optimisation or with a sanitizer. So the starter says that it looks for itself; only a
// task that ends later resumes whoever awaits it.
class task_promise_base : public pooled_frame {
 public:
  ~task_promise_base() {
    if (starter_ != nullptr) *starter_ = fate::destroyed;
  }
  std::suspend_always initial_suspend() const noexcept { return {}; }
  auto final_suspend() noexcept {
    struct awaiter {
      bool await_ready() const noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<>) const noexcept { return next; }
      void await_resume() const noexcept {}
      std::coroutine_handle<> next;
    };
    if (starter_ == nullptr) return awaiter{awaiting_};
    *std::exchange(starter_, nullptr) = fate::ended;  // its word goes before we do
    return awaiter{std::noop_coroutine()};
  }

  // Starts the coroutine; true if it waits, and will resume `awaiting` in the end.
  bool start(std::coroutine_handle<> self, std::coroutine_handle<> awaiting) {
    // The word is on our stack: whatever the task starts might destroy the task and who awaits it.
    fate seen = fate::waits;
    starter_ = &seen;
    awaiting_ = awaiting;
    self.resume();
    if (seen == fate::waits) starter_ = nullptr;
    return seen != fate::ended;
  }

 private:
  enum class fate : unsigned char { waits, ended, destroyed };
  fate* starter_ = nullptr;
  std::coroutine_handle<> awaiting_ = std::noop_coroutine();
};

template <class T>
class task_promise : public task_promise_base {
 public:
  task<T> get_return_object() noexcept;
  template <class U = T>
  requires std::convertible_to<U&&, T>
  void return_value(U&& value) { outcome_.value(std::forward<U>(value)); }
  void unhandled_exception() noexcept { outcome_.caught(); }
  T take() { return outcome_.take(); }

 private:
  outcome<T> outcome_;
};

template <>
class task_promise<void> : public task_promise_base {
 public:
  task<void> get_return_object() noexcept;
  void return_void() noexcept { outcome_.value(); }
  void unhandled_exception() noexcept { outcome_.caught(); }
  void take() { outcome_.take(); }

 private:
  outcome<task_value<void>> outcome_;
};

// Owns a coroutine's frame.
template <class Promise>
class unique_frame {
 public:
  using handle = std::coroutine_handle<Promise>;
  unique_frame() = default;
  explicit unique_frame(Promise& promise) noexcept : frame_(handle::from_promise(promise)) {}
  unique_frame(unique_frame&& other) noexcept : frame_(std::exchange(other.frame_, {})) {}
  unique_frame& operator=(unique_frame other) noexcept {
    std::swap(frame_, other.frame_);
    return *this;
  }
  ~unique_frame() {
    if (frame_) frame_.destroy();
  }
  handle get() const noexcept { return frame_; }
  bool done() const noexcept { return frame_ && frame_.done(); }

 private:
  handle frame_;
};

}  // namespace detail

template <class T>
class [[nodiscard]] task {
  static_assert(!std::is_reference_v<T>, "a task returns a value: hand out a pointer instead");

 public:
  using value_type = T;
  using promise_type = detail::task_promise<T>;

  task() = default;  // empty, like one that was moved from
  bool done() const noexcept { return frame_.done(); }

  auto operator co_await() && noexcept {
    struct awaiter {
      bool await_ready() const noexcept { return false; }
      bool await_suspend(std::coroutine_handle<> awaiting) const {
        return frame.promise().start(frame, awaiting);
      }
      T await_resume() const { return frame.promise().take(); }
      std::coroutine_handle<promise_type> frame;
    };
    FERRY_CHECK(frame_.get() && !frame_.done());
    return awaiter{frame_.get()};
  }

 private:
  friend promise_type;
  explicit task(promise_type& promise) noexcept : frame_(promise) {}
  detail::unique_frame<promise_type> frame_;
};

template <class T>
task<T> detail::task_promise<T>::get_return_object() noexcept {
  return task<T>(*this);
}
inline task<void> detail::task_promise<void>::get_return_object() noexcept {
  return task<void>(*this);
}

// Owns a started task: destroying it, or assigning another, cancels what still runs.
class [[nodiscard]] spawned {
 public:
  struct promise_type : pooled_frame {
    spawned get_return_object() noexcept { return spawned(*this); }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_always final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
  };

  spawned() = default;
  bool done() const noexcept { return frame_.done(); }

 private:
  explicit spawned(promise_type& promise) noexcept : frame_(promise) {}
  detail::unique_frame<promise_type> frame_;
};

// Runs the task up to where it first waits.
inline spawned start(task<void> work) {
  task<void> running = std::move(work);  // a local one: its frame goes as soon as it is done
  co_await std::move(running);
}
// The same; on_done() runs when the task has ended and all of its frame is gone.
template <class F>
spawned start(task<void> work, F on_done) {
  {
    task<void> running = std::move(work);
    co_await std::move(running);
  }
  on_done();
}

namespace detail {

struct detached {
  struct promise_type : pooled_frame {
    detached get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
  };
};

template <class F>
detached run_detached(task<void> work, F on_done) {
  {
    task<void> running = std::move(work);  // a local one: its frame goes before on_done() runs
    co_await std::move(running);
  }
  on_done();
}

// Counts the parts of a when_all that have not ended; awaited by one coroutine.
class countdown {
 public:
  explicit countdown(std::size_t parts) noexcept : left_(parts) {}
  bool await_ready() const noexcept { return left_ == 0; }
  void await_suspend(std::coroutine_handle<> waiting) noexcept { waiting_ = waiting; }
  void await_resume() const noexcept {}
  std::coroutine_handle<> arrive() noexcept {
    return --left_ == 0 ? waiting_ : std::noop_coroutine();
  }

 private:
  std::size_t left_;
  std::coroutine_handle<> waiting_ = std::noop_coroutine();
};

// One part of a when_all. It arrives when it is suspended for good: the last one resumes the
// coroutine that owns them all and may destroy them.
class part {
 public:
  struct promise_type : pooled_frame {
    part get_return_object() noexcept { return part(*this); }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    auto final_suspend() const noexcept {
      struct awaiter {
        bool await_ready() const noexcept { return false; }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<>) const noexcept {
          return left->arrive();
        }
        void await_resume() const noexcept {}
        countdown* left;
      };
      return awaiter{left};
    }
    void return_void() const noexcept {}
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
    countdown* left = nullptr;
  };

  void start(countdown& left) {
    frame_.get().promise().left = &left;
    frame_.get().resume();
  }

 private:
  explicit part(promise_type& promise) noexcept : frame_(promise) {}
  unique_frame<promise_type> frame_;
};

template <class T>
part run_part(task<T> work, outcome<task_value<T>>& ended) {
  try {
    if constexpr (std::is_void_v<T>) {
      co_await std::move(work);
      ended.value();
    } else {
      ended.value(co_await std::move(work));
    }
  } catch (...) {
    ended.caught();
  }
}

}  // namespace detail

// Starts a task that belongs to nobody: its frame goes when it is done, and then on_done() runs.
template <class F>
void spawn(task<void> work, F on_done) {
  detail::run_detached(std::move(work), std::move(on_done));
}
inline void spawn(task<void> work) {
  spawn(std::move(work), [] {});
}

// Starts all tasks, in order, and waits until each has ended. Gives their values (std::monostate
// for void), or throws what the first of them, in order, threw.
template <class... T>
task<std::tuple<detail::task_value<T>...>> when_all(task<T>... work) {
  detail::countdown left(sizeof...(T));
  std::tuple<detail::outcome<detail::task_value<T>>...> ended;
  std::array<detail::part, sizeof...(T)> parts = std::apply(
      [&](auto&... each) {
        return std::array<detail::part, sizeof...(T)>{
            detail::run_part<T>(std::move(work), each)...};
      },
      ended);
  for (detail::part& each : parts) each.start(left);
  co_await left;
  co_return std::apply(
      [](auto&... each) {
        return std::tuple<detail::task_value<T>...>{each.take()...};  // braces: in order
      },
      ended);
}

}  // namespace ferry
