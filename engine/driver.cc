#include "engine/driver.h"

#include "engine/futex.h"

namespace ferry {

void follower::arrive() noexcept {
  std::uint32_t before = state_.load(std::memory_order_relaxed);
  // release: pairs with the acquire in arrived().
  while (!state_.compare_exchange_weak(before, before == promoted ? arrived_promoted : has_arrived,
                                       std::memory_order_acq_rel)) {
  }
  // The object may be gone by now; waking an address that nobody sleeps on is harmless.
  if (before == sleeping) futex_wake_all(state_);
}

bool follower::sleep(std::chrono::steady_clock::time_point deadline) noexcept {
  std::uint32_t still = waiting;
  state_.compare_exchange_strong(still, sleeping, std::memory_order_acq_rel);
  while (!arrived()) {
    std::optional<std::chrono::nanoseconds> left;
    if (deadline != std::chrono::steady_clock::time_point::max()) {
      left = deadline - std::chrono::steady_clock::now();
      if (*left <= left->zero()) break;
    }
    futex_wait(state_, sleeping, left);
  }
  return arrived();
}

void driver::leave() noexcept {
  owner_.store(nullptr, std::memory_order_relaxed);
  // seq_cst, with the increment in follow(): either the follower finds the wheel free, or we find
  // it.
  taken_.store(false, std::memory_order_seq_cst);
  if (crowd_.load(std::memory_order_seq_cst) == 0) wake_one();
}

void driver::pass_on() noexcept {
  if (!taken_.load(std::memory_order_seq_cst)) wake_one();
}

void driver::wake_one() noexcept {
  if (followers_.load(std::memory_order_seq_cst) == 0) return;
  const std::lock_guard guard(mutex_);
  for (follower* each = first_; each != nullptr; each = each->next_) {
    std::uint32_t asleep = follower::sleeping;
    if (each->state_.compare_exchange_strong(asleep, follower::promoted,
                                             std::memory_order_acq_rel)) {
      futex_wake_all(each->state_);
      return;
    }
  }
}

bool driver::follow(follower& me, std::optional<clock::time_point> deadline) {
  followers_.fetch_add(1, std::memory_order_seq_cst);
  {
    const std::lock_guard guard(mutex_);
    std::uint32_t still = follower::waiting;
    // Fails if the answer has come meanwhile.
    me.state_.compare_exchange_strong(still, follower::sleeping, std::memory_order_acq_rel);
    me.next_ = first_;
    first_ = &me;
  }
  while (me.state_.load(std::memory_order_acquire) == follower::sleeping &&
         taken_.load(std::memory_order_seq_cst)) {
    std::optional<std::chrono::nanoseconds> left;
    if (deadline) {
      left = *deadline - clock::now();
      if (*left <= left->zero()) break;
    }
    futex_wait(me.state_, follower::sleeping, left);
  }
  unlink(me);
  followers_.fetch_sub(1, std::memory_order_relaxed);
  // Back to waiting unless the answer has come; a promotion is spent by returning.
  std::uint32_t now = me.state_.load(std::memory_order_relaxed);
  while (now < follower::has_arrived &&
         !me.state_.compare_exchange_weak(now, follower::waiting, std::memory_order_acq_rel)) {
  }
  return now == follower::promoted || now == follower::arrived_promoted;
}

void driver::unlink(follower& me) {
  const std::lock_guard guard(mutex_);
  for (follower** at = &first_; *at != nullptr; at = &(*at)->next_) {
    if (*at == &me) {
      *at = me.next_;
      break;
    }
  }
}

}  // namespace ferry
