// What comes while a plain function is inside on the thread that serves, and lets the loop run.
#include "shm/coarse_clock.h"
#include "worker/worker_link.h"

namespace ferry {
namespace {
constexpr int most_inside = 2;  // that listen, each inside the one before
}

std::size_t worker_link::run_deferred() {
  std::size_t count = 0;
  for (; !deferred_.empty() && functions_.inside == 0; ++count) {
    deferred_call next = std::move(deferred_.front());
    deferred_.pop_front();
    if (next.state) {
      if (!next.state->ended()) begin(next.state, std::move(next.content));
      continue;
    }
    // Its caller has been waiting since then. Nothing left: it may still be on time, by a tick.
    if (std::uint64_t& left = next.fields.deadline_ns; left != 0) {
      const auto waited = static_cast<std::uint64_t>((coarse_now() - next.came).count());
      left = left > waited ? left - waited : 1;
    }
    next.fields.spare = 0;  // counted
    invoke(next.fields, std::move(next.content));
  }
  return count;
}

void worker_link::put_off(const record_fields& fields, body&& content,
                          std::shared_ptr<call_state> state) {
  if (deferred_.size() < max_owed) {
    return deferred_.push_back({fields, std::move(content), coarse_now(), std::move(state)});
  }
  static constexpr const char* busy = "the worker is busy inside a function";
  if (!state) return refuse(fields.call, errc::overloaded, busy);
  (void)state->fail(errc::overloaded, busy, {}, false);
}

void worker_link::listen() {
  // Coroutines begin in that turn, and may listen in their turn: not without end.
  if (finished_ || functions_.inside >= most_inside) return;
  functions_.inside++;
  loop_->turn();
  if (loop_->wanted()) loop_->give_way();
  // Calls of other hosts were put off too, and their links may sleep.
  if (--functions_.inside == 0) loop_->activate_all();
}

bool worker_link::wait_inside(follower& me, clock::time_point deadline) {
  functions_.inside++;
  while (!me.arrived() && !finished_) {
    if (loop_->turn() != 0 && me.arrived()) break;
    if (loop_->wanted()) {
      loop_->give_way();
      continue;
    }
    if (loop_->wait(deadline) == woke::timeout) {
      const auto now = clock::now();
      loop_->serve_due(now);
      if (now >= deadline) break;
    }
  }
  if (--functions_.inside == 0) loop_->activate_all();
  return me.arrived();
}

}  // namespace ferry
