#include "worker/lanes.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <exception>
#include <list>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "shm/check.h"

namespace ferry {
namespace {
// More would overflow the clock's time points.
constexpr std::chrono::nanoseconds longest_idle_time = std::chrono::hours(24 * 365);
}  // namespace

struct lanes::queued_job {
  lane_job work;
  std::uint64_t number = 0;  // 0: nobody's
  std::uint32_t lane = 0;
  std::list<queued_job>::iterator self;
};

class lanes::impl {
 public:
  explicit impl(lanes_options options)
      : idle_time_(std::min(options.idle_time, longest_idle_time)) {}

  lane_id add_lane(lane_options options) {
    FERRY_CHECK(options.concurrency > 0);
    const std::lock_guard guard(mutex_);
    concurrency_ += options.concurrency;
    summons_.reserve(concurrency_);
    lanes_.push_back(std::make_unique<lane>(options));
    return lane_id{static_cast<std::uint32_t>(lanes_.size() - 1)};
  }

  result<ticket> submit(lane_id id, lane_job&& work) {
    const std::lock_guard guard(mutex_);
    if (stopping_) return error{errc::closed};
    lane& to = at(id);
    const std::size_t room = std::size_t{to.options.concurrency} + to.options.queue_limit;
    if (to.running + to.waiting.size() >= room) {
      return error{errc::full, 0, "lane", to.running + to.waiting.size() + 1, room};
    }
    if (to.running + to.summoned < to.options.concurrency && !summon_thread(to)) {
      // Fewer threads than it may have still serve the lane; none would let the job wait for ever.
      if (to.running + to.summoned == 0) return error{errc::limit, EAGAIN, "threads"};
    }
    if (to.spare.empty()) {
      to.spare.emplace_back();
      to.spare.front().self = to.spare.begin();
    }
    queued_job& job = to.spare.front();
    to.waiting.splice(to.waiting.end(), to.spare, job.self);
    job.work = std::move(work);
    job.number = ++last_number_;
    job.lane = id.value;
    ticket submitted;
    submitted.job = &job;
    submitted.number = job.number;
    return submitted;
  }

  bool withdraw(ticket submitted) {
    if (submitted.job == nullptr) return false;
    lane_job dropped;  // destroyed after the lock is free
    const std::lock_guard guard(mutex_);
    queued_job& job = *submitted.job;
    if (job.number != submitted.number) return false;
    dropped = take(*lanes_[job.lane], job);  // a thread summoned for it finds the next one, or none
    return true;
  }

  void stop() {
    std::vector<lane_job> dropped;
    std::list<std::thread> ended;
    std::unique_lock lock(mutex_);
    stopping_ = true;
    for (const auto& each : lanes_) {
      for (; !each->waiting.empty(); ++each->dropped) {
        dropped.push_back(take(*each, each->waiting.front()));
      }
    }
    work_.notify_all();
    lock.unlock();
    dropped.clear();  // before we wait: a job that runs may wait for what one of them holds
    lock.lock();
    no_threads_.wait(lock, [this] { return threads_.empty(); });
    ended.swap(ended_);
    lock.unlock();
    for (std::thread& each : ended) each.join();
  }

  lanes_stats stats() const {
    const std::lock_guard guard(mutex_);
    lanes_stats sum;
    for (const auto& each : lanes_) add(sum, *each);
    sum.threads = threads_.size();
    return sum;
  }
  lanes_stats stats(lane_id id) const {
    const std::lock_guard guard(mutex_);
    lanes_stats sum;
    add(sum, at(id));
    sum.threads = sum.running;
    return sum;
  }

 private:
  struct lane {
    explicit lane(lane_options given) : options(given) {}
    lane_options options;
    std::size_t running = 0;
    std::size_t summoned = 0;  // entries of summons_
    std::uint64_t dropped = 0;
    std::list<queued_job> waiting;
    std::list<queued_job> spare;  // used again, so that a steady flow touches no heap
  };

  lane& at(lane_id id) const {
    FERRY_CHECK(id.value < lanes_.size());
    return *lanes_[id.value];
  }
  static void add(lanes_stats& sum, const lane& of) {
    sum.running += of.running;
    sum.queued += of.waiting.size();
    sum.dropped += of.dropped;
  }

  static lane_job take(lane& from, queued_job& job) {
    job.number = 0;
    from.spare.splice(from.spare.begin(), from.waiting, job.self);
    return std::move(job.work);
  }

  // Sees to it that a thread comes to the lane. Every summons has an idle thread of its own, so
  // lanes never wait for each other; summons and running jobs are at most concurrency_.
  bool summon_thread(lane& to) {
    if (idle_ == summons_.size() && !start_thread()) return false;
    ++to.summoned;
    summons_.push_back(&to);
    work_.notify_one();
    return true;
  }

  bool start_thread() {
    const auto thread = threads_.emplace(threads_.end());
    // A thread inherits the mask: there is no instant in which a signal could reach it.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = true;
    try {
      *thread = std::thread([this, thread] { serve(thread); });
    } catch (const std::exception&) {
      threads_.erase(thread);
      started = false;
    }
    if (started) ++idle_;
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return started;
  }

  void serve(std::list<std::thread>::iterator self) noexcept {
    pthread_setname_np(pthread_self(), "ferry-lane");
    std::list<std::thread> ended;
    {
      std::unique_lock lock(mutex_);
      while (wait_for_summons(lock)) {
        lane& of = *summons_.back();
        summons_.pop_back();
        --of.summoned;
        --idle_;
        run_jobs(of, lock);
        ++idle_;
      }
      --idle_;
      ended.swap(ended_);  // at most one thread that has ended is kept, until the next one ends
      ended_.splice(ended_.end(), threads_, self);
      if (threads_.empty()) no_threads_.notify_all();
    }
    for (std::thread& each : ended) each.join();
  }

  // False: time to end. A summons that came as the time was over counts.
  bool wait_for_summons(std::unique_lock<std::mutex>& lock) {
    work_.wait_for(lock, idle_time_, [this] { return !summons_.empty() || stopping_; });
    return !summons_.empty();
  }

  void run_jobs(lane& of, std::unique_lock<std::mutex>& lock) {
    ++of.running;
    while (!of.waiting.empty()) {
      lane_job job = take(of, of.waiting.front());
      lock.unlock();
      job();
      job.reset();
      lock.lock();
    }
    --of.running;
  }

  const std::chrono::nanoseconds idle_time_;
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable work_;
  std::condition_variable no_threads_;
  std::vector<std::unique_ptr<lane>> lanes_;
  std::vector<lane*> summons_;  // lanes to which a thread should come; in any order
  std::size_t concurrency_ = 0;
  std::size_t idle_ = 0;  // threads that wait for a summons; never fewer than there are
  std::list<std::thread> threads_;
  std::list<std::thread> ended_;  // to be joined; they touch nothing of ours any more
  std::uint64_t last_number_ = 0;
  bool stopping_ = false;
};

lanes::lanes(lanes_options options) : impl_(std::make_unique<impl>(options)) {}
lanes::~lanes() { stop(); }
lane_id lanes::add_lane(lane_options options) { return impl_->add_lane(options); }
result<lanes::ticket> lanes::submit(lane_id lane, lane_job&& job) {
  return impl_->submit(lane, std::move(job));
}
bool lanes::withdraw(ticket submitted) { return impl_->withdraw(submitted); }
void lanes::stop() { impl_->stop(); }
lanes_stats lanes::stats() const { return impl_->stats(); }
lanes_stats lanes::stats(lane_id lane) const { return impl_->stats(lane); }

}  // namespace ferry
