#include "engine/channel/factory/monitor.h"

#include <array>
#include <utility>

#include "shm/check.h"

namespace ferry {
namespace {

constexpr std::array all_kinds{message_kind::execution_request,
                               message_kind::execution_response,
                               message_kind::health_check,
                               message_kind::health_response,
                               message_kind::shutdown,
                               message_kind::ack,
                               message_kind::error};

monitored_totals first_totals(const monitor_options& options) {
  monitored_totals totals;
  if (const auto used = options.usage()) totals.cpu_time = used->cpu_time;
  return totals;
}

// Counters only grow; should one not, it adds nothing.
std::uint64_t growth(std::uint64_t from, std::uint64_t to) { return to > from ? to - from : 0; }

std::uint64_t errors_of(const channel_stats& stats) {
  return std::uint64_t{stats.connection_errors} + stats.timeout_errors;
}

}  // namespace

channel_monitor::channel_monitor(monitor_time now, monitor_options options)
    : options_(std::move(options)),
      finished_(options_.max_finished),
      history_(options_.max_history),
      events_(options_.max_events),
      totals_(first_totals(options_)),
      rates_(options_.window, now, totals_),
      last_collection_(now) {}

result<monitored_id, channel_error> channel_monitor::watch(const channel_ptr& chan,
                                                           monitor_time now) {
  FERRY_CHECK(chan);
  const channel_stats before = chan->get_stats();
  const auto uptime = std::chrono::seconds(before.uptime_seconds);
  const std::lock_guard lock(mutex_);
  if (watched_.size() >= options_.max_connections) {
    return channel_error(errc::limit, "max_connections are watched");
  }
  const monitored_id id{++last_id_};
  connection_report report{.id = id,
                           .instance = chan->instance_id(),
                           .channel = std::string(chan->type()),
                           .connected_at = now - uptime,
                           .last_activity = now,
                           .messages_sent = before.messages_sent,
                           .messages_received = before.messages_received,
                           .bytes_sent = before.bytes_sent,
                           .bytes_received = before.bytes_received,
                           .error_count = errors_of(before),
                           .failure = {}};
  push_event({monitor_event_kind::connection, now, id,
              "connected to " + report.instance.full_id() + " by " + report.channel});
  watched_.emplace(id, watched{chan, std::move(report)});
  return id;
}

bool channel_monitor::count_error(monitored_id id, std::string_view text, monitor_time now) {
  const std::lock_guard lock(mutex_);
  const auto found = watched_.find(id);
  if (found == watched_.end()) return false;
  ++found->second.noted_errors;
  ++found->second.report.error_count;
  ++totals_.errors;
  push_event({monitor_event_kind::error, now, id, std::string(text)});
  return true;
}

void channel_monitor::note(monitor_event event) {
  const std::lock_guard lock(mutex_);
  push_event(std::move(event));
}

void channel_monitor::push_event(monitor_event event) {
  if (event.text.size() > options_.max_event_text) event.text.resize(options_.max_event_text);
  events_.push(std::move(event));
}

void channel_monitor::read(reading& into) {
  const auto why = into.chan->failure();  // first: once it is over its counts are final
  into.ended = why.has_value();
  if (why && why->code != errc::closed) into.failure = why->message();
  const channel_stats stats = into.chan->get_stats();
  into.messages_sent = stats.messages_sent;
  into.messages_received = stats.messages_received;
  into.bytes_sent = stats.bytes_sent;
  into.bytes_received = stats.bytes_received;
  into.errors = errors_of(stats);
  into.avg_response_time_ms = stats.avg_latency_ms;
  into.waiting = stats.requests_in_flight + stats.send_queue_depth + stats.inbox_depth != 0;
}

// Without the lock while a channel is asked.
std::vector<channel_monitor::reading> channel_monitor::read_all() const {
  std::vector<reading> all;
  {
    const std::lock_guard lock(mutex_);
    all.reserve(watched_.size());
    for (const auto& [id, one] : watched_) all.push_back({.id = id, .chan = one.chan.lock()});
  }
  for (reading& one : all) {
    if (one.chan) read(one);
  }
  return all;
}

void channel_monitor::apply(const reading& seen, monitor_time now) {
  const auto found = watched_.find(seen.id);
  if (found == watched_.end()) return;
  connection_report& report = found->second.report;
  if (seen.chan) {
    const std::uint64_t noted = found->second.noted_errors;
    const std::uint64_t messages = growth(report.messages_sent, seen.messages_sent) +
                                   growth(report.messages_received, seen.messages_received);
    totals_.messages += messages;
    totals_.bytes += growth(report.bytes_sent, seen.bytes_sent) +
                     growth(report.bytes_received, seen.bytes_received);
    totals_.errors += growth(report.error_count - noted, seen.errors);
    if (messages != 0) report.last_activity = now;
    report.messages_sent = seen.messages_sent;
    report.messages_received = seen.messages_received;
    report.bytes_sent = seen.bytes_sent;
    report.bytes_received = seen.bytes_received;
    report.error_count = seen.errors + noted;
    report.avg_response_time_ms = seen.avg_response_time_ms;
    report.failure = seen.failure;
  }
  const bool rests = now - report.last_activity >= options_.idle_after;
  if (!seen.ended) {
    report.state = seen.waiting ? connection_state::busy
                   : rests      ? connection_state::idle
                                : connection_state::active;
    return;
  }
  report.state = report.failure.empty() ? connection_state::idle : connection_state::error;
  push_event({monitor_event_kind::connection, now, report.id,
              "disconnected from " + report.instance.full_id() +
                  (report.failure.empty() ? "" : ": " + report.failure)});
  finished_.push(std::move(report));
  watched_.erase(found);
}

// Of both that follow: the readings are dropped after both locks, for a last reference closes its
// channel, which runs foreign code. One at a time, or an older reading could be applied after a
// newer one.

system_report channel_monitor::collect(monitor_time now) {
  std::vector<reading> readings;
  const std::lock_guard one_at_a_time(collecting_);
  return collect(now, readings);
}

std::optional<system_report> channel_monitor::collect_if_due(monitor_time now) {
  std::vector<reading> readings;
  const std::lock_guard one_at_a_time(collecting_);
  if (now < next_collection()) return std::nullopt;
  return collect(now, readings);
}

system_report channel_monitor::collect(monitor_time now, std::vector<reading>& readings) {
  readings = read_all();
  const auto used = options_.usage();
  const std::uint64_t message_errors = messages_.errors();
  const std::lock_guard lock(mutex_);
  for (const reading& one : readings) apply(one, now);
  if (used) {
    totals_.cpu_time = used->cpu_time;
    memory_bytes_ = used->memory_bytes;
  }
  system_report report;
  report.at = now;
  report.active_connections = watched_.size();
  report.total_connections = last_id_;
  report.totals = totals_;
  report.totals.errors += message_errors;
  report.rates = rates_.add(now, report.totals);
  report.memory_bytes = memory_bytes_;
  history_.push(report);
  last_collection_ = now;
  return report;
}

monitor_time channel_monitor::next_collection() const {
  const std::lock_guard lock(mutex_);
  return last_collection_ + options_.interval;
}

std::vector<connection_report> channel_monitor::connections() const {
  const std::lock_guard lock(mutex_);
  std::vector<connection_report> all;
  all.reserve(watched_.size());
  for (const auto& [id, one] : watched_) all.push_back(one.report);
  return all;
}

std::vector<connection_report> channel_monitor::finished() const {
  const std::lock_guard lock(mutex_);
  return finished_.copy();
}

std::vector<message_report> channel_monitor::messages() const {
  std::vector<message_report> all;
  for (const message_kind kind : all_kinds) {
    if (const auto report = messages_.of(kind); report.total != 0) all.push_back(report);
  }
  return all;
}

std::vector<system_report> channel_monitor::history() const {
  const std::lock_guard lock(mutex_);
  return history_.copy();
}

std::vector<monitor_event> channel_monitor::take_events(std::size_t most) {
  const std::lock_guard lock(mutex_);
  return events_.take(most);
}

std::uint64_t channel_monitor::dropped_events() const {
  const std::lock_guard lock(mutex_);
  return events_.dropped();
}

}  // namespace ferry
