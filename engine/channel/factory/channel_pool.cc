#include "engine/channel/factory/channel_pool.h"

#include <utility>

namespace ferry {
namespace {

creation_failure no_channel(const runtime_instance_id& instance, errc why, std::string text) {
  creation_failure failure;
  failure.code = why;
  failure.text = std::move(text);
  failure.runtime = instance.type();
  return failure;
}

creation_failure closed_meanwhile(const runtime_instance_id& instance) {
  return no_channel(instance, errc::closed, "closed while it was made");
}

void close_each(const std::vector<channel_ptr>& channels) {
  for (const channel_ptr& one : channels) one->close();
}

// What still stands has lost its peer and not noticed: whoever shares it may receive what came.
void let_go_of(std::vector<channel_ptr> dead) {
  std::erase_if(dead, [](const channel_ptr& one) { return one->is_connected(); });
  close_each(dead);
}

}  // namespace

creation_result channel_pool::get(const runtime_instance_id& instance, const maker& make) {
  std::vector<channel_ptr> dead;  // let go after the lock
  slot_ptr mine;
  look_for_dead(&instance, true);
  {
    std::unique_lock lock(mutex_);
    std::uint64_t reconnects = 0;
    if (const auto found = slots_.find(instance); found != slots_.end()) {
      const slot_ptr theirs = found->second;
      if (!theirs->outcome) {
        if (theirs->maker == std::this_thread::get_id()) {
          return no_channel(instance, errc::invalid_request,
                            "asked for from within the making of it");
        }
        theirs->made.wait(lock, [&] { return theirs->outcome || theirs->given_up; });
        if (!theirs->outcome) return closed_meanwhile(instance);
        return *theirs->outcome;
      }
      if (theirs->is_connected()) return theirs->channel();
      reconnects = theirs->reconnects;
      if (channel_ptr made = theirs->channel()) {
        ++reconnects;
        dead.push_back(std::move(made));
      }
      slots_.erase(found);
    }
    if (slots_.size() >= max_channels_) take_dead(dead);
    if (slots_.size() >= max_channels_) {
      return no_channel(instance, errc::limit, "max_channels instances have a channel");
    }
    mine = std::make_shared<slot>();
    mine->maker = std::this_thread::get_id();
    mine->reconnects = reconnects;
    slots_.emplace(instance, mine);
  }
  let_go_of(std::move(dead));
  return make_for(instance, mine, make);
}

void channel_pool::look_for_dead(const runtime_instance_id* whose, bool to_come) const {
  std::vector<std::pair<slot_ptr, channel_ptr>> made;  // a last reference goes without the lock
  {
    const std::lock_guard lock(mutex_);
    const bool all =
        !whose || (to_come && slots_.size() >= max_channels_ && !slots_.contains(*whose));
    for (const auto& [instance, held] : slots_) {
      if ((all || instance == *whose) && held->is_connected()) {
        made.emplace_back(held, held->channel());
      }
    }
  }
  std::erase_if(made, [](const auto& each) { return each.second->still_connected(); });
  const std::lock_guard lock(mutex_);
  for (const auto& each : made) each.first->peer_gone = true;
}

creation_result channel_pool::make_for(const runtime_instance_id& instance, const slot_ptr& mine,
                                       const maker& make) {
  const auto given_up = [this, &mine] {
    const std::lock_guard lock(mutex_);
    return mine->given_up;
  };
  // A maker runs code of whoever registered a strategy or a transport: should it throw, those who
  // wait for it must hear so all the same.
  creation_result outcome = [&]() -> creation_result {
    try {
      return make(given_up);
    } catch (const std::exception& thrown) {
      return no_channel(instance, errc::connection_failed, thrown.what());
    } catch (...) {
      return no_channel(instance, errc::connection_failed, "the making of it threw");
    }
  }();
  channel_ptr unwanted;
  {
    const std::lock_guard lock(mutex_);
    if (mine->given_up && outcome) {
      unwanted = *outcome;
      outcome = closed_meanwhile(instance);
    }
    mine->outcome = outcome;
    // Given up, the place is not ours any more: it may be somebody else's by now.
    if (!mine->given_up && !outcome && mine->reconnects == 0) slots_.erase(instance);
  }
  mine->made.notify_all();
  if (unwanted) unwanted->close();
  return outcome;
}

bool channel_pool::close(const runtime_instance_id& instance) {
  channel_ptr closed;
  bool was_there = false;
  {
    const std::lock_guard lock(mutex_);
    const auto found = slots_.find(instance);
    if (found == slots_.end()) return false;
    was_there = give_up(*found->second, closed);
    slots_.erase(found);
  }
  if (closed) closed->close();
  return was_there;
}

std::size_t channel_pool::close_all() {
  std::vector<channel_ptr> closed;
  std::size_t count = 0;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [instance, held] : slots_) {
      channel_ptr made;
      if (give_up(*held, made)) ++count;
      if (made) closed.push_back(std::move(made));
    }
    slots_.clear();
  }
  close_each(closed);
  return count;
}

bool channel_pool::give_up(slot& held, channel_ptr& made) {
  held.given_up = true;
  held.made.notify_all();
  made = held.channel();
  return !held.outcome || made;
}

bool channel_pool::has(const runtime_instance_id& instance) const {
  look_for_dead(&instance);
  const std::lock_guard lock(mutex_);
  const auto found = slots_.find(instance);
  return found != slots_.end() && found->second->is_connected();
}

std::vector<runtime_instance_id> channel_pool::instances() const {
  look_for_dead(nullptr);
  const std::lock_guard lock(mutex_);
  std::vector<runtime_instance_id> all;
  for (const auto& [instance, held] : slots_) {
    if (held->is_connected()) all.push_back(instance);
  }
  return all;
}

std::size_t channel_pool::size() const { return instances().size(); }

std::optional<channel_stats> channel_pool::stats_of(const runtime_instance_id& instance) const {
  channel_ptr held;
  std::uint64_t reconnects = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto found = slots_.find(instance);
    if (found == slots_.end()) return std::nullopt;
    held = found->second->channel();
    reconnects = found->second->reconnects;
  }
  if (!held) return std::nullopt;
  auto stats = held->get_stats();
  stats.reconnects = reconnects;
  return stats;
}

void channel_pool::take_dead(std::vector<channel_ptr>& dead) {
  std::erase_if(slots_, [&](const auto& entry) {
    const slot& held = *entry.second;
    if (!held.outcome || held.is_connected()) return false;
    if (channel_ptr made = held.channel()) dead.push_back(std::move(made));
    return true;
  });
}

}  // namespace ferry
