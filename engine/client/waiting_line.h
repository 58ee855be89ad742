// Coroutines whose calls found no room. They are tried again, first come, first tried, when there
// may be some; those that lack memory for the bytes of their calls let the others pass.
// Threads   any and call: any thread. All else only with the wheel of the loop in hand.
// Lifetime  an entry lies in what waits and leaves the line before it goes.
// Source    engine/README.md, "Calls".
#pragma once
#include <atomic>
#include <cstdint>
#include <mutex>
#include <utility>

#include "engine/spin_lock.h"
#include "shm/result.h"

namespace ferry {

class waiting_line {
 public:
  // What a try came to; the last three: nothing has changed.
  enum class tried : std::uint8_t { started, ended, no_place, no_room, no_memory };

  class entry {
   public:
    entry(const entry&) = delete;
    entry& operator=(const entry&) = delete;

   protected:
    // `large`: may lack memory.
    explicit entry(bool large) noexcept : large_(large) {}
    ~entry() = default;
    bool in_line() const noexcept { return ticket_ != 0; }
    std::uint64_t ticket() const noexcept { return ticket_; }  // never the same again

   private:
    friend waiting_line;
    virtual tried attempt() = 0;               // has left the line if it started or ended
    virtual void resume() = 0;                 // after it ended; it may be gone then
    virtual void give_up(call_error why) = 0;  // leaves the line, ends and resumes

    entry* before_ = nullptr;
    entry* after_ = nullptr;
    std::uint64_t ticket_ = 0;  // 0: not in line
    const bool large_;
  };

  // A hint to those that do not have the wheel.
  bool any() const noexcept { return any_.load(std::memory_order_relaxed); }
  // Somebody waits and serve() is not under way: the caller, who has freed a place or come into the
  // line, has it run soon.
  bool call() noexcept {
    // The lock orders it with add(): either we find who waits, or his next try finds the place.
    const std::lock_guard guard(gate_);
    return any() && !std::exchange(called_, true);
  }

  void add(entry& who) noexcept;
  void remove(entry& who) noexcept;
  entry* first() const noexcept { return next(true); }
  entry* find(std::uint64_t ticket) const noexcept;

  // Tries those in line, in order. True: some wait for what only the peer can give.
  bool serve();
  void end_all(const call_error& why) {
    while (entry* const each = first()) each->give_up(why);
  }
  // From outside its class.
  static void give_up(entry& who, call_error why) { who.give_up(std::move(why)); }

 private:
  struct list {
    entry* first = nullptr;
    entry* last = nullptr;
  };
  entry* next(bool with_large) const noexcept {
    entry* const small = lists_[0].first;
    entry* const large = with_large ? lists_[1].first : nullptr;
    if (small == nullptr || large == nullptr) return small != nullptr ? small : large;
    return small->ticket_ < large->ticket_ ? small : large;
  }

  list lists_[2];  // of small ones, of large ones
  std::uint64_t last_ticket_ = 0;
  spin_lock gate_;
  bool called_ = false;  // guarded by gate_
  std::atomic<bool> any_{false};
};

}  // namespace ferry
