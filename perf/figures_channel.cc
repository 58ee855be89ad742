// Channels over Unix sockets: many calls in flight on one, few on each of many.
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <vector>

#include "engine/channel/connect.h"
#include "perf/figures.h"
#include "shm/check.h"

namespace ferry::perf {
namespace {

constexpr int depth = 256;
constexpr std::size_t body_bytes = 1024;
constexpr std::size_t frame_bytes = 64 + body_bytes;
constexpr std::size_t buffer_bytes = depth * frame_bytes;

struct sockets {
  std::vector<unique_fd> near, far;
  explicit sockets(int count) {
    for (int i = 0; i < count; ++i) {
      std::array<int, 2> ends{};
      FERRY_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
      for (const int end : ends) {
        const int size = 2 << 20;
        if (::setsockopt(end, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0) {
          (void)::setsockopt(end, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        }
      }
      near.emplace_back(ends[0]);
      far.emplace_back(ends[1]);
    }
  }
};

// Runs `peer` with the far ends in a forked process until `client` has returned.
template <class Peer, class Client>
double beside(sockets& both, placement where, Peer&& peer, Client&& client) {
  const pid_t pid = ::fork();
  FERRY_CHECK(pid >= 0);
  if (pid == 0) {
    both.near.clear();
    pin_peer(where);
    peer();
    ::_exit(0);
  }
  both.far.clear();
  pin_client(where);
  const double rate = client();
  both.near.clear();
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  pin_client(placement::unpinned);
  return rate;
}

// Frames of header and body, as many as are allowed in one gather write; the echo reads what there
// is and writes it back.
double bare_rate(placement where, clock::duration run_for) {
  sockets both(1);
  const auto echo = [&] {
    std::vector<std::byte> buffer(buffer_bytes);
    for (;;) {
      const ssize_t got = ::read(both.far[0].get(), buffer.data(), buffer.size());
      if (got <= 0) return;
      for (ssize_t sent = 0; sent < got;) {
        const ssize_t part =
            ::write(both.far[0].get(), buffer.data() + sent, static_cast<std::size_t>(got - sent));
        if (part <= 0) return;
        sent += part;
      }
    }
  };
  return beside(both, where, echo, [&] {
    std::vector<std::byte> header(64), body(body_bytes), buffer(buffer_bytes);
    std::uint64_t sent = 0, bytes = 0, sum = 0;
    const auto begin = clock::now();
    auto now = begin;
    for (; now - begin < run_for; now = clock::now()) {
      for (int turn = 0; turn < 16; ++turn) {
        std::vector<iovec> pieces;
        while (sent - bytes / frame_bytes < depth) {
          pieces.push_back({header.data(), header.size()});
          pieces.push_back({body.data(), body.size()});
          ++sent;
        }
        if (!pieces.empty()) {
          const ssize_t all =
              ::writev(both.near[0].get(), pieces.data(), static_cast<int>(pieces.size()));
          FERRY_CHECK(all == static_cast<ssize_t>(pieces.size() / 2 * frame_bytes));
        }
        const ssize_t got = ::read(both.near[0].get(), buffer.data(), buffer.size());
        FERRY_CHECK(got > 0);
        sum += read_all(std::span(buffer).first(static_cast<std::size_t>(got)));
        bytes += static_cast<std::uint64_t>(got);
      }
    }
    asm volatile("" ::"r"(sum));
    return static_cast<double>(bytes / frame_bytes) / (microseconds(now - begin) / 1e6);
  });
}

std::vector<channel_ptr> adopt_all(std::vector<unique_fd>& ends, bool accepts, loop& driven_by) {
  const auto instance = runtime_instance_id::make(runtime_type::process, "perf");
  std::vector<channel_ptr> made;
  for (unique_fd& end : ends) {
    channel_options options;
    options.loop = driven_by;
    FERRY_CHECK(
        adopt_channel_async(std::move(end), accepts, *instance, options, [&](channel_result&& one) {
          FERRY_CHECK(one);
          made.push_back(std::move(*one));
        }));
  }
  while (made.size() < ends.size()) FERRY_CHECK(driven_by.run_once(std::chrono::seconds(1)));
  return made;
}

double channel_rate(placement where, reactor_kind reactor, int count, clock::duration run_for) {
  sockets both(count);
  const auto echo = [&] {
    auto driven_by = loop::create({reactor, {}});
    FERRY_CHECK(driven_by);
    auto made = adopt_all(both.far, true, *driven_by);
    for (const channel_ptr& each : made) {
      each->on_message([to = each.get()](message&& asked) {
        const std::uint64_t id = asked.request_id;
        (void)to->reply(id, execution_success(std::move(asked.data)));
      });
    }
    while (driven_by->run_once(std::chrono::seconds(10))) {
    }
  };
  return beside(both, where, echo, [&] {
    auto driven_by = loop::create({reactor, {}});
    FERRY_CHECK(driven_by);
    const auto made = adopt_all(both.near, false, *driven_by);
    const std::array<std::byte, body_bytes> argument{};
    struct state {
      std::uint64_t sent = 0, done = 0, sum = 0;
      bool stop = false;
    } all;
    const std::function<void(channel*)> ask = [&](channel* over) {
      ++all.sent;
      auto begun = over->request_async(execution_request({}, payload::copy_of(argument)),
                                       std::chrono::seconds(30),
                                       [&all, &ask, over](message_result&& answer) {
                                         FERRY_CHECK(answer);
                                         all.sum += read_all(answer->data.bytes());
                                         ++all.done;
                                         if (!all.stop) ask(over);
                                       });
      FERRY_CHECK(begun);
    };
    for (const channel_ptr& each : made) {
      for (int i = 0; i < std::max(depth / count, 1); ++i) ask(each.get());
    }
    const auto begin = clock::now();
    auto now = begin;
    for (; now - begin < run_for; now = clock::now()) {
      for (int turn = 0; turn < 16; ++turn) {
        FERRY_CHECK(driven_by->run_once(std::chrono::seconds(10)));
      }
    }
    const std::uint64_t in_time = all.done;
    all.stop = true;
    while (all.done < all.sent) FERRY_CHECK(driven_by->run_once(std::chrono::seconds(10)));
    asm volatile("" ::"r"(all.sum));
    return static_cast<double>(in_time) / (microseconds(now - begin) / 1e6);
  });
}

}  // namespace

std::vector<figure> channels(const effort& how) {
  std::vector<figure> lines;
  const bool has_ring = reactor::create(reactor_kind::io_uring).has_value();
  const auto best = has_ring ? reactor_kind::io_uring : reactor_kind::epoll;
  for (const placement where : {placement::two_cores, placement::one_core}) {
    if (!possible(where)) continue;
    std::vector<double> ours, bare;
    for (int i = 0; i < how.repeats; ++i) {
      bare.push_back(bare_rate(where, how.run_for));
      ours.push_back(channel_rate(where, best, 1, how.run_for));
    }
    const double measured = median(ours), limit = median(bare);
    lines.push_back(
        {fmt::format("Unix-socket channel, 1 KB calls, 256 in flight, {}", name_of(where)),
         fmt::format("{:.2f} M calls/s, {}", measured / 1e6, name_of(best)),
         fmt::format("bare writev/read echo {:.2f} M/s", limit / 1e6),
         fmt::format("{:.2f} x", measured / limit), ">= 0.7 x", measured >= 0.7 * limit});
    if (!has_ring) continue;
    std::vector<double> with_ring, with_epoll;
    for (int i = 0; i < how.repeats; ++i) {
      with_epoll.push_back(channel_rate(where, reactor_kind::epoll, 64, how.run_for));
      with_ring.push_back(channel_rate(where, reactor_kind::io_uring, 64, how.run_for));
    }
    const double ring = median(with_ring), epoll = median(with_epoll);
    lines.push_back({fmt::format("io_uring vs epoll at 64 sockets, 4 calls of 1 KB in flight on "
                                 "each, {}",
                                 name_of(where)),
                     fmt::format("{:.2f} M calls/s", ring / 1e6),
                     fmt::format("epoll {:.2f} M/s", epoll / 1e6),
                     fmt::format("{:.2f} x", ring / epoll), ">= 1 x", ring >= epoll});
  }
  return lines;
}

}  // namespace ferry::perf
