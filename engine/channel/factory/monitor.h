// What goes on in the channels of a process: each connection, each kind of message, the whole, and
// what happened lately.
//
//   channel_monitor monitor(steady_clock::now());
//   auto id = monitor.watch(*factory.get_or_create_channel(instance), now);
//   ...
//   if (auto report = monitor.collect_if_due(now)) publish(*report);      // every 30 s
//
// Units     times are of the clock that the caller passes in. Rates are over the time that has
//           really passed, see rate_window.h.
// Threads   any. A channel's statistics are read without our lock; two collections wait for each
//           other. No thread of its own: whoever has a loop or a timer collects.
// Lifetime  holds no reference to a channel: one that is dropped goes, and counts as finished from
//           the next collection on, with what was read of it last.
// Errors    watch: limit: max_connections are watched.
// Source    engine/channel/factory/README.md, "Monitoring".
#pragma once
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/channel/connect.h"
#include "engine/channel/factory/bounded_log.h"
#include "engine/channel/factory/message_statistics.h"
#include "engine/channel/factory/process_usage.h"
#include "engine/channel/factory/rate_window.h"
#include "shm/strong_id.h"

namespace ferry {

using monitored_id = strong_id<struct monitored_id_tag, std::uint64_t>;  // never used twice
using monitor_time = std::chrono::steady_clock::time_point;

enum class connection_state : std::uint8_t {
  active,  // messages moved since the last collection, or lately
  idle,    // none for idle_after
  busy,    // requests under way, or messages waiting to be read or sent
  error,   // the link was lost, or the protocol broken
};

struct connection_report {
  monitored_id id;
  runtime_instance_id instance;
  std::string channel;  // its type
  connection_state state = connection_state::active;
  monitor_time connected_at;
  monitor_time last_activity;  // of the collection that saw it
  std::uint64_t messages_sent = 0;
  std::uint64_t messages_received = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t error_count = 0;
  double avg_response_time_ms = 0;
  std::string failure;  // why it ended; empty: it has not, or by close()
};

struct system_report {
  monitor_time at;
  std::uint64_t active_connections = 0;
  std::uint64_t total_connections = 0;  // ever watched
  monitored_totals totals;
  monitored_rates rates;
  std::uint64_t memory_bytes = 0;
};

enum class monitor_event_kind : std::uint8_t { connection, message, error, span };

struct monitor_event {
  monitor_event_kind kind = monitor_event_kind::connection;
  monitor_time at;
  monitored_id connection;           // 0: of none
  std::string text;                  // at most max_event_text bytes
  std::chrono::nanoseconds took{0};  // of a span
};

struct monitor_options {
  std::chrono::nanoseconds interval = std::chrono::seconds(30);  // of collect_if_due()
  std::chrono::nanoseconds window = std::chrono::seconds(60);    // of the rates
  std::chrono::nanoseconds idle_after = std::chrono::seconds(30);
  std::size_t max_connections = 10000;  // watched at once
  std::size_t max_finished = 1000;      // the last ones are kept
  std::size_t max_history = 1000;
  std::size_t max_events = 1000;
  std::size_t max_event_text = 256;
  std::function<result<process_usage>()> usage = measure_process_usage;
};

class channel_monitor {
 public:
  explicit channel_monitor(monitor_time now, monitor_options options = {});

  // Once for each channel, or it counts twice. The totals hold what it does from now on.
  result<monitored_id, channel_error> watch(const channel_ptr& chan, monitor_time now);
  // What a channel itself does not count: an error of its user. False: it is not watched.
  bool count_error(monitored_id id, std::string_view text, monitor_time now);
  void count_message(message_kind kind, bool success,
                     std::optional<std::chrono::nanoseconds> took = {}) noexcept {
    messages_.count(kind, success, took);
  }
  void note(monitor_event event);

  // Reads every channel; what has ended moves to finished(). Adds to the history.
  system_report collect(monitor_time now);
  // The same if `interval` has passed since the last collection.
  std::optional<system_report> collect_if_due(monitor_time now);
  monitor_time next_collection() const;

  // As of the last collection.
  std::vector<connection_report> connections() const;
  std::vector<connection_report> finished() const;
  std::vector<message_report> messages() const;  // of the kinds that there were
  std::vector<system_report> history() const;
  // Takes the oldest events out. What was dropped because nobody took it is counted.
  std::vector<monitor_event> take_events(std::size_t most = ~std::size_t{0});
  std::uint64_t dropped_events() const;

 private:
  struct watched {
    std::weak_ptr<channel> chan;
    connection_report report;
    std::uint64_t noted_errors = 0;
  };
  // What one collection wants of a channel: its statistics without their histogram, which is large.
  struct reading {
    monitored_id id;
    channel_ptr chan = nullptr;  // null: it is gone, and the rest says nothing
    std::uint64_t messages_sent = 0;
    std::uint64_t messages_received = 0;
    std::uint64_t bytes_sent = 0;
    std::uint64_t bytes_received = 0;
    std::uint64_t errors = 0;
    double avg_response_time_ms = 0;
    bool waiting = false;  // a request, or a message to be read or sent
    bool ended = true;     // over; one that closes and still flushes is not
    std::string failure = {};
  };

  static void read(reading& into);
  std::vector<reading> read_all() const;
  // With collecting_ held.
  system_report collect(monitor_time now, std::vector<reading>& readings);
  // These with mutex_ held.
  void apply(const reading& seen, monitor_time now);
  void push_event(monitor_event event);

  const monitor_options options_;
  message_statistics messages_;
  std::mutex collecting_;     // taken before mutex_, never after
  mutable std::mutex mutex_;  // guards all that follows
  std::map<monitored_id, watched> watched_;
  bounded_log<connection_report> finished_;
  bounded_log<system_report> history_;
  bounded_log<monitor_event> events_;
  std::uint64_t last_id_ = 0;
  monitored_totals totals_;
  rate_window rates_;
  monitor_time last_collection_;
  std::uint64_t memory_bytes_ = 0;
};

}  // namespace ferry
