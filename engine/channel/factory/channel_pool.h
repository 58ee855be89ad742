// The channels that are shared: one for each instance. Whoever asks first makes it, whoever asks
// meanwhile waits for that and gets the same outcome, and one that has died is replaced.
// Threads   any. No lock is held while a channel is made or closed. A request for an instance from
//           within the making of its channel is refused instead of waiting for itself. Not for the
//           callbacks of a loop, which would stand still while they wait.
// Lifetime  holds a reference to each channel until it is closed here or replaced. Nobody may be in
//           get() when the pool goes.
// Errors    get: what the maker gave.  connection_failed: it threw.  closed: close() or close_all()
//           came while it was made.  limit: max_channels instances have one.  invalid_request: as
//           said above.
// Source    engine/channel/factory/README.md, "Pool".
#pragma once
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "engine/channel/factory/creation.h"

namespace ferry {

class channel_pool {
 public:
  // Makes a channel; asks `given_up` now and then whether anybody still wants it.
  using maker = std::function<creation_result(const std::function<bool()>& given_up)>;

  explicit channel_pool(std::size_t max_channels) : max_channels_(max_channels) {}
  channel_pool(const channel_pool&) = delete;
  channel_pool& operator=(const channel_pool&) = delete;

  creation_result get(const runtime_instance_id& instance, const maker& make);
  // Closes it, or gives up the making of it. False: there was neither.
  bool close(const runtime_instance_id& instance);
  std::size_t close_all();  // how many

  // Of channels that are connected now; a peer that has gone is noticed though nobody drives.
  bool has(const runtime_instance_id& instance) const;
  std::vector<runtime_instance_id> instances() const;  // in order
  std::size_t size() const;
  // With the number of times that this pool replaced it.
  std::optional<channel_stats> stats_of(const runtime_instance_id& instance) const;

 private:
  // In the map: being made; made; or, if it was a replacement that failed, kept for its count.
  struct slot {
    std::thread::id maker;
    std::condition_variable made;
    std::optional<creation_result> outcome;  // unset: being made. Never changes once it is set
    bool given_up = false;                   // not in the map any more
    bool peer_gone = false;                  // though the channel may not have noticed
    std::uint64_t reconnects = 0;

    channel_ptr channel() const { return outcome && *outcome ? **outcome : nullptr; }
    bool is_connected() const {
      return outcome && *outcome && !peer_gone && (**outcome)->is_connected();
    }
  };
  using slot_ptr = std::shared_ptr<slot>;

  // Without the lock. Nobody may drive the channels: looks whose peers have gone. Of this instance,
  // or of all if it is null, or if it is `to_come` and there is no room for it.
  void look_for_dead(const runtime_instance_id* whose, bool to_come = false) const;

  creation_result make_for(const runtime_instance_id& instance, const slot_ptr& mine,
                           const maker& make);
  // With the lock held, both; the channels that they give are to be closed without it.
  // Tells those who wait; `made` is the channel, if there is one. False: nor is one being made.
  static bool give_up(slot& held, channel_ptr& made);
  // Removes what has died.
  void take_dead(std::vector<channel_ptr>& dead);

  const std::size_t max_channels_;
  mutable std::mutex mutex_;  // guards slots_ and what is in them
  std::map<runtime_instance_id, slot_ptr> slots_;
};

}  // namespace ferry
