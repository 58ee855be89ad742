// Runs the headers of ring/ as they are under every interleaving and every delay of a store buffer.
// Machine   total store order, as x86: each thread's stores wait in a queue of its own and reach
//           memory later, in order; its own loads see them at once; a full fence or a
//           read-modify-write empties the queue. Weaker orders are tests/race's business.
// Search    depth first over replayed runs. A choice is made before each load, fence, exchange or
//           futex call: which thread goes on, or which queue gives its oldest store to memory. A
//           store itself needs no choice, since nobody else sees it enter its queue.
// Bounds    `preemptions` limits how often a thread that could go on is left, and how often the
//           queue of a thread that is not running moves. `deviations` limits every departure from
//           one plain schedule (go on while you can; then empty your queue; then the next thread
//           in turn), for scenarios too long for the other. unlimited = all interleavings.
// Threads   simulated ones: fibers on the caller's thread, one at a time.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/model/fiber.h"

namespace ferry::explore {

inline constexpr int unlimited = 1'000'000;

struct limits {
  int preemptions = unlimited;
  int deviations = unlimited;
  std::uint64_t runs = 5'000'000;  // then the search gives up: `complete` stays false
};

struct outcome {
  std::uint64_t runs = 0;
  bool complete = false;
  std::string failure;  // of the first run that failed, with its steps; empty = none did
};

class world {
 public:
  // ---- for a scenario, before its run
  void spawn(std::string name, std::function<void()> body) {
    threads_.push_back({std::move(name), std::move(body)});
  }
  void at_end(std::function<void()> check) { at_end_ = std::move(check); }
  void name(const void* at, std::string text) { names_.push_back({at, std::move(text)}); }
  // Memory that only one thread of this scenario uses: no choice is made at it.
  void quiet(const void* at, std::size_t size_bytes) {
    quiet_.push_back({static_cast<const std::byte*>(at), size_bytes});
  }
  void drop_fences_of(std::string name) { fenceless_.push_back(std::move(name)); }

  // ---- for the threads of a scenario
  static world* current() { return current_; }

  void fail(std::string why) {
    if (failure_.empty()) failure_ = std::move(why);
  }

  // Counts what reached memory from other threads. Who found nothing to do waits for more.
  std::uint64_t version() const { return version_ - threads_[running_].changes; }
  void wait_for_change(std::uint64_t since) {
    wait_until("waits for a change", [this, since, waiter = running_] {
      return version_ - threads_[waiter].changes != since;
    });
  }
  void wait_until(const char* what, std::function<bool()> ready) {
    note(what, nullptr, 0);
    running().waiting = std::move(ready);
    suspend();
    running().waiting = nullptr;
  }
  void step() { suspend(); }  // a point where any thread may go on

  // ---- for the atomics below
  void load(void* to, const void* from, std::size_t size, bool is_plain) {
    if (!is_quiet(from)) step();
    std::memcpy(to, from, size);
    const auto begin = reinterpret_cast<std::uintptr_t>(from);
    for (const buffered& store : running().queue) {  // our own stores, oldest first
      const auto at = reinterpret_cast<std::uintptr_t>(store.to);
      const auto first = std::max(at, begin);
      const auto last = std::min(at + store.bytes.size(), begin + size);
      if (first >= last) continue;
      std::memcpy(static_cast<std::byte*>(to) + (first - begin), &store.bytes[first - at],
                  last - first);
    }
    note(is_plain ? "reads" : "loads", from, is_plain ? 0 : number(to, size));
  }
  void store(void* to, const void* from, std::size_t size, bool is_plain) {
    if (size == 0) return;
    note(is_plain ? "writes" : "stores", to, is_plain ? 0 : number(from, size));
    const auto* bytes = static_cast<const std::byte*>(from);
    running().queue.push_back({to, {bytes, bytes + size}});
  }
  void fence() {
    if (std::find(fenceless_.begin(), fenceless_.end(), running().name) != fenceless_.end()) return;
    step();
    note("fence", nullptr, 0);
    while (!running().queue.empty()) flush(running());
  }
  template <class T, class Change>  // change(T&) -> whether to write it
  T modify(T* at, const char* what, Change change) {
    if (!is_quiet(at)) step();
    while (!running().queue.empty()) flush(running());
    const T before = *at;
    T after = before;
    if (change(after)) {
      *at = after;
      changed(running());
    }
    note(what, at, number(&after, sizeof after));
    return before;
  }

  // ---- for the explorer
  struct decision {
    std::size_t chosen;
    std::size_t among;
  };

  // One run: follows `path`, then always the first choice, and appends what it chose.
  std::string run(std::vector<decision>& path, const limits& within, std::deque<fiber>& fibers) {
    current_ = this;
    budget_ = within.preemptions;
    deviations_ = within.deviations;
    while (fibers.size() < threads_.size()) fibers.emplace_back();
    for (std::size_t i = 0; i < threads_.size(); ++i) {
      threads_[i].runs_on = &fibers[i];
      fibers[i].start(threads_[i].body);
    }
    std::size_t depth = 0;
    std::vector<action> open;
    while (failure_.empty()) {
      list(open);
      if (open.empty()) break;
      if (depth == path.size()) path.push_back({0, open.size()});
      const std::size_t chosen = path[depth++].chosen;
      if (chosen != 0) --deviations_;
      take(open[chosen]);
      if (depth > 10'000) fail("a run of more than 10000 steps: a thread turns for ever");
    }
    running_ = nobody;
    current_ = nullptr;
    if (failure_.empty()) {
      for (const thread& t : threads_) {
        if (!t.runs_on->done()) fail(t.name + " sleeps for ever");
      }
    }
    if (failure_.empty() && at_end_) at_end_();
    if (failure_.empty()) return {};
    return failure_ + "\n" + steps();
  }

 private:
  static constexpr std::size_t nobody = ~std::size_t{0};
  struct buffered {
    void* to;
    std::vector<std::byte> bytes;
  };
  struct thread {
    std::string name;
    std::function<void()> body;
    fiber* runs_on = nullptr;
    std::function<bool()> waiting = nullptr;
    std::deque<buffered> queue = {};
    std::uint64_t changes = 0;  // of memory, made by it
    bool may_run() const { return !runs_on->done() && (!waiting || waiting()); }
  };
  struct action {
    std::size_t thread;
    bool flushes;  // gives the oldest store to memory, rather than running the thread
    int cost;
  };
  struct noted {
    std::size_t thread;
    const char* what;
    const void* at;
    std::uint64_t value;
  };

  void list(std::vector<action>& open) {
    open.clear();
    const bool last_may_run =  // a thread that waits has stopped of its own accord
        last_ != nobody && !threads_[last_].waiting && threads_[last_].may_run();
    bool others_may_run = false;
    bool others_left = false;
    for (std::size_t i = 0; i < threads_.size(); ++i) {
      if (i == last_) continue;
      others_may_run |= threads_[i].may_run();
      others_left |= !threads_[i].runs_on->done();
    }
    // Who gave a store to memory of its own accord did so for others to see: one of them is next.
    if (last_may_run && !(leaving_ && others_may_run)) open.push_back({last_, false, 0});
    const auto list_flush = [&](std::size_t i, int cost) {
      if (!threads_[i].queue.empty() && cost <= budget_) open.push_back({i, true, cost});
    };
    if (last_ != nobody && !last_may_run) list_flush(last_, 0);
    for (std::size_t k = 1; k <= threads_.size(); ++k) {
      const std::size_t i = last_ == nobody ? k - 1 : (last_ + k) % threads_.size();
      if ((i == last_ && last_may_run) || !threads_[i].may_run()) continue;
      if (const int cost = last_may_run ? 1 : 0; cost <= budget_) open.push_back({i, false, cost});
    }
    const bool only_flushes = open.empty();
    // A queue that moves while its thread runs is only worth a choice if somebody else may look.
    if (last_may_run && budget_ != 0 && others_left) list_flush(last_, 0);
    for (std::size_t i = 0; i < threads_.size(); ++i) {
      if (i != last_) list_flush(i, only_flushes ? 0 : 1);
    }
    if (deviations_ == 0 && open.size() > 1) open.erase(open.begin() + 1, open.end());
  }
  void take(const action& next) {
    budget_ -= next.cost;
    running_ = next.thread;
    if (next.flushes) {
      leaving_ = next.thread == last_;
      flush(threads_[next.thread]);
      return;
    }
    leaving_ = false;
    last_ = next.thread;
    threads_[next.thread].runs_on->resume();
  }
  void flush(thread& t) {
    buffered& oldest = t.queue.front();
    note("  reaches memory:", oldest.to,
         oldest.bytes.size() <= 8 ? number(oldest.bytes.data(), oldest.bytes.size()) : 0);
    std::memcpy(oldest.to, oldest.bytes.data(), oldest.bytes.size());
    t.queue.pop_front();
    changed(t);
  }
  void changed(thread& by) {
    ++version_;
    ++by.changes;
  }
  void suspend() { running().runs_on->suspend(); }
  thread& running() { return threads_[running_]; }
  bool is_quiet(const void* at) const {
    const auto* byte = static_cast<const std::byte*>(at);
    return std::any_of(quiet_.begin(), quiet_.end(), [&](const auto& range) {
      return byte >= range.first && byte < range.first + range.second;
    });
  }
  static std::uint64_t number(const void* from, std::size_t size) {
    std::uint64_t value = 0;
    std::memcpy(&value, from, std::min<std::size_t>(size, 8));
    return value;
  }
  void note(const char* what, const void* at, std::uint64_t value) {
    noted_.push_back({running_, what, at, value});
  }
  std::string steps() const {
    std::string out;
    for (const noted& n : noted_) {
      char line[200];
      std::string where;
      if (n.at != nullptr) {
        char address[32];
        std::snprintf(address, sizeof address, "%p", n.at);
        where = address;
        for (const auto& [at, text] : names_) {
          if (at == n.at) where = text;
        }
      }
      std::snprintf(line, sizeof line, "  %-10s %-18s %-16s %llx\n",
                    threads_[n.thread].name.c_str(), n.what, where.c_str(),
                    static_cast<unsigned long long>(n.value));
      out += line;
    }
    return out;
  }

  static inline thread_local world* current_ = nullptr;
  std::vector<thread> threads_;
  std::vector<std::pair<const void*, std::string>> names_;
  std::vector<std::pair<const std::byte*, std::size_t>> quiet_;
  std::vector<std::string> fenceless_;
  std::vector<noted> noted_;
  std::function<void()> at_end_;
  std::string failure_;
  std::size_t running_ = nobody;
  std::size_t last_ = nobody;  // the thread that ran last
  bool leaving_ = false;       // ... and whose store was given to memory since
  int budget_ = 0;
  int deviations_ = 0;
  std::uint64_t version_ = 0;
};

// Explores every run of the scenario that `set_up(world&)` describes, or stops at the first
// failure.
template <class SetUp>
outcome explore(const limits& within, SetUp set_up) {
  outcome out;
  std::vector<world::decision> path;
  std::deque<fiber> fibers;
  while (out.runs < within.runs) {
    world w;
    set_up(w);
    ++out.runs;
    out.failure = w.run(path, within, fibers);
    if (!out.failure.empty()) return out;
    while (!path.empty() && path.back().chosen + 1 == path.back().among) path.pop_back();
    if (path.empty()) {
      out.complete = true;
      return out;
    }
    ++path.back().chosen;
  }
  return out;
}

// What ring/*.h are instantiated with here; the counterpart of std_atomics. Outside a run (setting
// a scenario up, checking its end) it is plain memory.
struct atomics {
  template <class T>
  class atomic {
   public:
    atomic() : value_() {}
    atomic(T value) : value_(value) {}
    atomic(const atomic&) = delete;
    atomic& operator=(const atomic&) = delete;

    T load(std::memory_order) const {
      world* w = world::current();
      if (w == nullptr) return value_;
      T value;
      w->load(&value, &value_, sizeof value, false);
      return value;
    }
    void store(T value, std::memory_order) {
      if (world* w = world::current()) return w->store(&value_, &value, sizeof value, false);
      value_ = value;
    }
    T exchange(T value, std::memory_order) {
      return modify("exchanges", [&](T& now) { return now = value, true; });
    }
    T fetch_add(T value, std::memory_order) {
      return modify("adds to", [&](T& now) { return now = static_cast<T>(now + value), true; });
    }
    bool compare_exchange_weak(T& expected, T desired, std::memory_order) {
      const T wanted = expected;
      expected = modify("compare-exchanges",
                        [&](T& now) { return now == wanted && (now = desired, true); });
      return expected == wanted;
    }

    const T& memory() const { return value_; }  // what the kernel sees

   private:
    template <class Change>
    T modify(const char* what, Change change) {
      if (world* w = world::current()) return w->modify(&value_, what, change);
      const T before = value_;
      change(value_);
      return before;
    }
    T value_;
  };

  static void full_fence() {
    if (world* w = world::current()) w->fence();
  }
  static void read(void* to, const void* from, std::size_t size) {
    if (world* w = world::current()) return w->load(to, from, size, true);
    std::memcpy(to, from, size);
  }
  static void write(void* to, const void* from, std::size_t size) {
    if (world* w = world::current()) return w->store(to, from, size, true);
    std::memcpy(to, from, size);
  }
};

}  // namespace ferry::explore
