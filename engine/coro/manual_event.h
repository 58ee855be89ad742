// Something that happens once, or again after reset(), for which coroutines of one thread wait:
//
//   co_await ready;      // goes on at once if ready is set
//   ready.set();         // runs those that wait, in the order in which they came
//
// Threads   one: the thread of the loop that runs the coroutines.
// Lifetime  a coroutine destroyed while it waits is forgotten. An event destroyed first never
//           resumes those that wait. Either may happen inside set().
// Source    engine/README.md, "Coroutines".
#pragma once
#include <coroutine>

namespace ferry {

class manual_event {
  struct node {
    node* before = this;
    node* after = this;
    node() = default;
    node(const node&) = delete;
    node& operator=(const node&) = delete;
    ~node() { unlink(); }
    bool linked() const noexcept { return after != this; }
    void unlink() noexcept {
      before->after = after;
      after->before = before;
      before = after = this;
    }
    void link_before(node& other) noexcept {
      before = other.before;
      after = &other;
      before->after = other.before = this;
    }
  };

 public:
  class waiter : node {
   public:
    explicit waiter(manual_event& event) noexcept : event_(event) {}
    bool await_ready() const noexcept { return event_.set_; }
    void await_suspend(std::coroutine_handle<> waiting) noexcept {
      waiting_ = waiting;
      link_before(event_.waiters_);
    }
    void await_resume() const noexcept {}

   private:
    friend manual_event;
    manual_event& event_;
    std::coroutine_handle<> waiting_;
  };

  bool is_set() const noexcept { return set_; }
  void reset() noexcept { set_ = false; }
  void set() {
    set_ = true;
    if (!waiters_.linked()) return;
    // From here on neither this event nor any one waiter is sure to live: those that wait hang on a
    // list of ours.
    node due;
    due.link_before(waiters_);
    waiters_.unlink();
    while (due.linked()) {
      waiter& first = static_cast<waiter&>(*due.after);
      first.unlink();
      first.waiting_.resume();
    }
  }
  waiter operator co_await() noexcept { return waiter(*this); }

 private:
  node waiters_;  // the ends of a ring; unlinked when nobody waits
  bool set_ = false;
};

}  // namespace ferry
