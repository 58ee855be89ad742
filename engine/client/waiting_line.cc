#include "engine/client/waiting_line.h"

namespace ferry {

void waiting_line::add(entry& who) noexcept {
  list& into = lists_[who.large_ ? 1 : 0];
  who.ticket_ = ++last_ticket_;
  who.before_ = into.last;
  who.after_ = nullptr;
  (into.last != nullptr ? into.last->after_ : into.first) = &who;
  into.last = &who;
  const std::lock_guard guard(gate_);
  any_.store(true, std::memory_order_relaxed);
}

void waiting_line::remove(entry& who) noexcept {
  if (!who.in_line()) return;
  list& from = lists_[who.large_ ? 1 : 0];
  (who.before_ != nullptr ? who.before_->after_ : from.first) = who.after_;
  (who.after_ != nullptr ? who.after_->before_ : from.last) = who.before_;
  who.ticket_ = 0;
  if (first() != nullptr) return;
  const std::lock_guard guard(gate_);
  any_.store(false, std::memory_order_relaxed);
}

waiting_line::entry* waiting_line::find(std::uint64_t ticket) const noexcept {
  for (const list& each : lists_) {
    for (entry* at = each.first; at != nullptr; at = at->after_) {
      if (at->ticket_ == ticket) return at;
    }
  }
  return nullptr;
}

bool waiting_line::serve() {
  {
    const std::lock_guard guard(gate_);
    called_ = false;
  }
  bool memory = true;  // that one did not get, the next will not either
  while (entry* const each = next(memory)) {
    switch (each->attempt()) {
      case tried::started: break;
      case tried::ended: each->resume(); break;
      case tried::no_memory: memory = false; break;
      case tried::no_place: return !memory;
      case tried::no_room: return true;
    }
  }
  return !memory;
}

}  // namespace ferry
