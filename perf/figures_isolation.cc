// One channel's latency while another is flooded, and while its statistics are read.
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <thread>
#include <vector>

#include "engine/channel/connect.h"
#include "perf/figures.h"
#include "shm/check.h"

namespace ferry::perf {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t body_bytes = 500;
constexpr double most = 1.2;

// The instances on a CPU of their own, if there is one.
const placement where = possible(placement::two_cores) ? placement::two_cores : placement::unpinned;

// A forked instance that echoes, or floods; its channel hangs on a loop shared with others.
class instance {
 public:
  instance(const std::string& transport, bool floods, ferry::loop& driven_by) {
    std::array<int, 2> ends{};
    const int type = transport == "unix" ? SOCK_STREAM : SOCK_SEQPACKET;
    FERRY_CHECK(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()) == 0);
    unique_fd near(ends[0]), far(ends[1]);
    pid_ = ::fork();
    FERRY_CHECK(pid_ >= 0);
    const auto name = runtime_instance_id::make(runtime_type::process, "perf");
    if (pid_ == 0) {
      near = unique_fd();
      pin_peer(where);
      auto made = adopt_channel(std::move(far), true, *name);
      if (made) serve(**made, floods);
      ::_exit(0);
    }
    far = unique_fd();
    channel_options options;
    options.loop = driven_by;
    auto made = adopt_channel(std::move(near), false, *name, options);
    FERRY_CHECK(made);
    channel_ = *made;
  }
  ~instance() {
    channel_.reset();
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  channel& operator*() const { return *channel_; }

 private:
  static void serve(channel& over, bool floods) {
    const std::array<std::byte, body_bytes> body{};
    while (floods && over.send(execution_request({}, payload::copy_of(body)))) {
    }
    while (auto asked = over.receive()) {
      (void)over.reply(*asked, execution_success(std::move(asked->data)));
    }
  }
  pid_t pid_ = -1;
  channel_ptr channel_;
};

// One blocking call after the other.
double p99_us(channel& over, clock::duration run_for) {
  const std::array<std::byte, body_bytes> body{};
  std::vector<double> took;
  const auto end = clock::now() + run_for;
  for (auto began = clock::now(); began < end;) {
    auto answer = over.request(execution_request({}, payload::copy_of(body)), 30s);
    FERRY_CHECK(answer && answer->data.size() == body_bytes);
    const auto now = clock::now();
    took.push_back(microseconds(now - began));
    began = now;
  }
  return percentile(took, 0.99);
}

// The same while another thread wakes each millisecond, and reads the statistics or does not.
double beside_reader(channel& over, bool reads, clock::duration run_for) {
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> sum{0};  // so that the copies are really made
  std::thread reader([&] {
    for (; !stop; std::this_thread::sleep_for(1ms)) {
      if (reads) sum += over.get_stats().latency.count();
    }
  });
  const double took = p99_us(over, run_for);
  stop = true;
  reader.join();
  FERRY_CHECK(!reads || sum != 0);
  return took;
}

figure compared(std::string name, std::vector<double> with, const char* to,
                std::vector<double> without) {
  const double measured = median(std::move(with)), limit = median(std::move(without));
  return {std::move(name),
          fmt::format("p99 {:.1f} us", measured),
          fmt::format("{} {:.1f} us", to, limit),
          fmt::format("{:.2f} x", measured / limit),
          fmt::format("< {} x", most),
          measured < most * limit};
}

}  // namespace

std::vector<figure> channel_isolation(const effort& how) {
  std::vector<figure> lines;
  pin_client(where);
  for (const std::string transport : {"shm+unix", "unix"}) {
    std::vector<double> quiet, flooded, unread, read;
    for (int i = 0; i < how.repeats; ++i) {
      auto shared = loop::create();
      FERRY_CHECK(shared);
      const instance calm(transport, false, *shared);
      unread.push_back(beside_reader(*calm, false, how.run_for));
      read.push_back(beside_reader(*calm, true, how.run_for));
      {  // two on one loop wait otherwise than one: the other is there in both measurements
        const instance idle(transport, false, *shared);
        quiet.push_back(p99_us(*calm, how.run_for));
      }
      const instance rude(transport, true, *shared);
      flooded.push_back(p99_us(*calm, how.run_for));
    }
    lines.push_back(compared(fmt::format("{} channel while another floods an inbox that nobody "
                                         "empties",
                                         transport),
                             std::move(flooded), "the other idle", std::move(quiet)));
    lines.push_back(
        compared(fmt::format("{} channel while a thread reads its statistics each ms", transport),
                 std::move(read), "it only wakes", std::move(unread)));
  }
  pin_client(placement::unpinned);
  return lines;
}

}  // namespace ferry::perf
