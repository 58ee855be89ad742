#include "perf/bare.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <functional>
#include <memory>

#include "engine/futex.h"
#include "ring/record_ring.h"
#include "shm/check.h"
#include "shm/unique_fd.h"

namespace ferry::perf {
namespace {

// Shared between the two processes of a measurement.
template <class T>
class shared {
 public:
  shared() {
    void* at =
        ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    FERRY_CHECK(at != MAP_FAILED);
    value_ = new (at) T{};
  }
  ~shared() { ::munmap(value_, sizeof(T)); }
  shared(const shared&) = delete;
  T* operator->() { return value_; }

 private:
  T* value_;
};

// Runs `peer` in a forked process until `client` returns, which then kills it.
template <class Client>
auto beside(placement where, const std::function<void()>& peer, Client&& client) {
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  FERRY_CHECK(pid >= 0);
  if (pid == 0) {
    pin_peer(where);
    while (::getppid() == parent) peer();
    ::_exit(0);
  }
  pin_client(where);
  const auto out = client();
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  pin_client(placement::unpinned);
  return out;
}

template <class RoundTrip>
double p50_of(clock::duration run_for, RoundTrip&& round_trip) {
  std::vector<double> samples;
  samples.reserve(1 << 20);
  for (int i = 0; i < 100; ++i) round_trip();
  const auto end = clock::now() + run_for;
  for (auto before = clock::now(); before < end && samples.size() < samples.capacity();) {
    round_trip();
    const auto after = clock::now();
    samples.push_back(microseconds(after - before));
    before = after;
  }
  return percentile(samples, 0.5);
}

constexpr std::uint64_t ring_bytes = 512 << 10;
constexpr std::uint64_t key = 0x9e3779b97f4a7c15;

struct ring_memory {
  cursor<std_atomics> read[2];
  alignas(4096) std::byte ring[2][ring_bytes];
};

// One side: produces into ring `side`, consumes the other.
struct ring_end {
  ring_end(ring_memory& memory, int side)
      : out(memory.ring[side], memory.read[1 - side], key),
        in(memory.ring[1 - side], memory.read[side], key) {}
  record_producer<> out;
  record_consumer<> in;

  // Copies the next body out; false if there is none.
  bool receive(std::span<std::byte> into) {
    const auto got = in.try_pop([&](const record_fields&, std::span<const std::byte> body) {
      std_atomics::read(into.data(), body.data(), body.size());
    });
    if (in.owes_room()) in.give_back();
    return got.has_value();
  }
};

}  // namespace

double bare_ring_rtt_us(placement where, std::size_t body_bytes, clock::duration run_for) {
  shared<ring_memory> memory;
  std::vector<std::byte> body(body_bytes);
  record_fields fields;
  fields.kind = record_kind::call;
  auto* raw = memory.operator->();
  return beside(
      where,
      [&, end = std::make_shared<ring_end>(*raw, 1)] {
        for (int look = 0; look < 1000; ++look) {
          if (end->receive(body)) (void)end->out.try_push(fields, body);
          cpu_pause();
        }
      },
      [&] {
        ring_end end(*raw, 0);
        return p50_of(run_for, [&] {
          FERRY_CHECK(end.out.try_push(fields, body));
          while (!end.receive(body)) cpu_pause();
        });
      });
}

double bare_ring_rate(placement where, std::size_t body_bytes, int depth, clock::duration run_for) {
  shared<ring_memory> memory;
  std::vector<std::byte> body(body_bytes);
  record_fields fields;
  fields.kind = record_kind::call;
  auto* raw = memory.operator->();
  const auto reads = [](ring_end& end, std::uint64_t& sum) {
    const auto got = end.in.try_pop(
        [&](const record_fields&, std::span<const std::byte> bytes) { sum += read_all(bytes); });
    if (end.in.owes_room()) end.in.give_back();
    return got.has_value();
  };
  return beside(
      where,
      [&, end = std::make_shared<ring_end>(*raw, 1)] {
        std::uint64_t sum = 0;
        for (int look = 0; look < 1000; ++look) {
          if (!reads(*end, sum)) {
            cpu_pause();
            continue;
          }
          while (!end->out.try_push(fields, body)) cpu_pause();
        }
        asm volatile("" ::"r"(sum));  // the reading is the point
      },
      [&] {
        ring_end end(*raw, 0);
        std::uint64_t sum = 0, sent = 0, done = 0;
        const auto begin = clock::now();
        auto now = begin;
        while (now - begin < run_for) {
          for (int turn = 0; turn < 256; ++turn) {
            while (sent - done < static_cast<std::uint64_t>(depth) &&
                   end.out.try_push(fields, body)) {
              ++sent;
            }
            while (reads(end, sum)) ++done;
          }
          now = clock::now();
        }
        asm volatile("" ::"r"(sum));  // the reading is the point
        return static_cast<double>(done) / (microseconds(now - begin) / 1e6);
      });
}

double bare_futex_rtt_us(placement where, clock::duration run_for) {
  struct words {
    alignas(128) std::atomic<std::uint32_t> ping, pong;
  };
  shared<words> memory;
  auto* raw = memory.operator->();
  const auto wait_past = [](std::atomic<std::uint32_t>& word, std::uint32_t old) {
    while (word.load(std::memory_order_acquire) == old) futex_wait(word, old, std::nullopt);
  };
  std::uint32_t seen = 0, sent = 0;
  return beside(
      where,
      [&] {
        wait_past(raw->ping, seen++);
        raw->pong.fetch_add(1, std::memory_order_release);
        futex_wake_all(raw->pong);
      },
      [&] {
        return p50_of(run_for, [&] {
          raw->ping.fetch_add(1, std::memory_order_release);
          futex_wake_all(raw->ping);
          wait_past(raw->pong, sent++);
        });
      });
}

double bare_eventfd_rtt_us(placement where, clock::duration run_for) {
  const unique_fd ping(::eventfd(0, EFD_CLOEXEC)), pong(::eventfd(0, EFD_CLOEXEC));
  FERRY_CHECK(ping && pong);
  const auto write_one = [](const unique_fd& fd) {
    const std::uint64_t one = 1;
    FERRY_CHECK(::write(fd.get(), &one, sizeof one) == sizeof one);
  };
  const auto read_one = [](const unique_fd& fd) {
    std::uint64_t count = 0;
    FERRY_CHECK(::read(fd.get(), &count, sizeof count) == sizeof count);
  };
  return beside(
      where,
      [&] {
        read_one(ping);
        write_one(pong);
      },
      [&] {
        return p50_of(run_for, [&] {
          write_one(ping);
          read_one(pong);
        });
      });
}

double bare_read_rate(std::size_t size_bytes, clock::duration run_for) {
  void* at = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  FERRY_CHECK(at != MAP_FAILED);
  std::memset(at, 1, size_bytes);
  pin_client(placement::two_cores);
  std::uint64_t sum = 0;
  std::uint64_t bytes = 0;
  const auto begin = clock::now();
  auto now = begin;
  for (; now - begin < run_for; now = clock::now()) {
    sum += read_all({static_cast<const std::byte*>(at), size_bytes});
    bytes += size_bytes;
  }
  pin_client(placement::unpinned);
  ::munmap(at, size_bytes);
  asm volatile("" ::"r"(sum));  // the reading is the point
  return static_cast<double>(bytes) / (microseconds(now - begin) / 1e6);
}

}  // namespace ferry::perf
