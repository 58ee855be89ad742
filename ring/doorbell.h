// Going to sleep without losing a wakeup, where neither side may write the other's memory.
//
//   sleeper                                   ringer
//   b = theirs.bell                           publish (ring, returns or position)
//   mine.asleep = epoch | how                 -- full fence --
//   -- full fence --                          a = theirs.asleep
//   look at the rings once more               if a != 0 and a's epoch not rung yet:
//   wait until theirs.bell != b,                 mine.bell += 1, futex wake     (how = on_bell)
//     or in the reactor                          or one packet on the socket    (how = in_reactor)
//   mine.asleep = 0
//
// Layout    one sleep_words in each side's segment; each writes only its own.
// Threads   sleeper: one thread at a time. ringer: any thread.
// Promise   if the ringer's news came before the sleeper's last look, the look finds it; otherwise
//           the ringer's look at `asleep` finds the epoch. One of the two always holds (Dekker): a
//           wakeup is never lost; late ones may be spurious. The caller makes the system calls.
// Crashes   a ringer that dies between news and bell leaves the sleeper to the end of the socket,
//           which every sleeper also watches (tests/model/doorbell.pml, "death").
// Source    ring/README.md, "Asleep and bell".
#pragma once
#include "ring/atomics.h"

namespace ferry {

// How a side sleeps, and what it sleeps for; bits of the asleep word below the epoch.
enum sleep_bits : std::uint64_t {
  awake = 0,
  on_bell = 1,      // futex wait on the peer's bell
  in_reactor = 2,   // poll on the socket
  wants_room = 4,   // also woken by returned bodies and freed ring space
  sleep_epoch = 8,  // the lowest bit of the epoch
};

template <class Atomics>
struct alignas(pad_bytes) sleep_words {
  typename Atomics::template atomic<std::uint64_t> asleep;  // 0, or epoch and sleep_bits
  typename Atomics::template atomic<std::uint32_t> cpu;     // where the owner last ran; a hint
  alignas(pad_bytes) typename Atomics::template atomic<std::uint32_t> bell;  // counts rings
};
static_assert(sizeof(sleep_words<std_atomics>) == 2 * pad_bytes);
static_assert(sizeof(std::atomic<std::uint32_t>) == 4);  // the kernel waits on the bell as a futex

template <class Atomics = std_atomics>
class sleeper {
 public:
  sleeper(sleep_words<Atomics>& mine, const sleep_words<Atomics>& theirs) noexcept
      : mine_(&mine), theirs_(&theirs) {}

  // Announces the sleep; returns the bell's value to wait on. Look at the rings after this, before
  // sleeping. `how`: on_bell or in_reactor, with or without wants_room.
  std::uint32_t raise(std::uint64_t how) noexcept {
    // sync(doorbell.bell) acquire: pairs with the release increment in ringer::check. Read before
    // `asleep` goes up, so a ring for this epoch is always a change from `b`.
    const std::uint32_t b = theirs_->bell.load(std::memory_order_acquire);
    epoch_ += sleep_epoch;
    // sync(doorbell.asleep) release: pairs with the acquire load in ringer::check, and keeps the
    // load of the bell above it; the fence orders it before the last look at the rings.
    mine_->asleep.store(epoch_ | how, std::memory_order_release);
    Atomics::full_fence();  // sync(doorbell.dekker): the other fence is in ringer::check
    return b;
  }

  void lower() noexcept {
    mine_->asleep.store(awake, std::memory_order_relaxed);  // late: at worst one needless ring
  }

 private:
  sleep_words<Atomics>* mine_;
  const sleep_words<Atomics>* theirs_;  // mapped read-only
  std::uint64_t epoch_ = 0;
};

enum class wake { none, bell, packet };  // what the caller of check() must do
enum class news { records, room };       // what was published

template <class Atomics = std_atomics>
class ringer {
 public:
  ringer(sleep_words<Atomics>& mine, const sleep_words<Atomics>& theirs) noexcept
      : mine_(&mine), theirs_(&theirs) {}

  // Call after publishing, once per batch. bell: wake the futex on our own bell (already counted).
  // packet: send one wakeup on the socket.
  wake check(news what) noexcept {
    Atomics::full_fence();  // sync(doorbell.dekker): the other fence is in sleeper::raise
    return glance(what);
  }

  // The same without the fence, for a publisher that calls check() a moment later anyway: it wakes
  // who sleeps already, and may miss who is just falling asleep.
  wake glance(news what) noexcept {
    // sync(doorbell.asleep) acquire: pairs with the release store in sleeper::raise.
    const std::uint64_t asleep = theirs_->asleep.load(std::memory_order_acquire);
    if (asleep == awake) [[likely]]
      return wake::none;
    if (what == news::room && (asleep & wants_room) == 0) return wake::none;
    // One ring per epoch. Threads that disagree about the epoch ring once too often, never too
    // seldom: relaxed is enough, since it guards no data.
    if (rung_.exchange(asleep, std::memory_order_relaxed) == asleep) return wake::none;
    if ((asleep & in_reactor) != 0) return wake::packet;
    // sync(doorbell.bell) release: pairs with the acquire load in sleeper::raise.
    mine_->bell.fetch_add(1, std::memory_order_release);
    return wake::bell;
  }

 private:
  sleep_words<Atomics>* mine_;
  const sleep_words<Atomics>* theirs_;
  typename Atomics::template atomic<std::uint64_t> rung_{0};  // private: the last epoch rung for
};

}  // namespace ferry
