// Decodes    what comes over a Unix socket to a channel that accepts, from its first byte on.
// Input      one byte: whether a good hello goes first; then pieces: a length (1 byte, 0 for 256)
//            and as many bytes, which arrive together.
// Property   the channel opens once or is refused once, and ends with a printable reason. Where the
//            stream is cut makes no difference: the same messages, and the same end.
#include <sys/socket.h>

#include <array>
#include <vector>

#include "engine/channel/connect.h"
#include "engine/channel/handshake.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/leak_watch.h"

namespace ferry {
namespace {

using pieces = std::vector<std::vector<std::byte>>;

struct outcome {
  std::size_t messages = 0, bytes = 0;
  errc end{};
  friend bool operator==(const outcome&, const outcome&) = default;
};

runtime_instance_id victims_instance() {
  return *runtime_instance_id::make(runtime_type::process, "fuzz");
}

std::vector<std::byte> good_hello() {
  const message hello = hello_message(victims_instance(), std::nullopt);
  const frame_fields fields = control_fields(frame_kind::hello, hello);
  const frame_header header = header_of(fields);
  std::vector<std::byte> frame(sizeof header + fields.head_size);
  std::memcpy(frame.data(), &header, sizeof header);
  write_head(hello, std::span(frame).subspan(sizeof header));
  return frame;
}

outcome feed(const pieces& stream) {
  std::array<int, 2> ends{};
  FERRY_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
  unique_fd peer(ends[0]), victim(ends[1]);
  auto driven = loop::create({reactor_kind::epoll, {}});
  FERRY_CHECK(driven);
  channel_options options;
  options.loop = *driven;
  options.max_message_bytes = 100'000;
  options.health = [] { return health_report(); };
  outcome seen;
  int opened = 0, ended = 0;
  channel_ptr chan;
  const auto end = [&](const channel_error& why) {
    ++ended;
    seen.end = why.code;
    FERRY_CHECK(why.code != errc{} && !why.text.empty());
    FERRY_CHECK(std::ranges::all_of(why.text, [](char c) { return c >= ' ' && c <= '~'; }));
  };
  FERRY_CHECK(adopt_channel_async(
      std::move(victim), true, victims_instance(), options, [&](channel_result&& made) {
        ++opened;
        if (!made) return end(made.error());
        chan = *made;
        chan->on_closed(end);
        chan->on_message([&](message&& what) {
          ++seen.messages;
          seen.bytes += what.data.size() + what.function.size() + what.text.size();
          if (what.request_id != 0) (void)chan->reply(what, execution_success());
        });
      }));
  const auto run = [&] {
    std::array<std::byte, 4096> answers;
    while (::recv(peer.get(), answers.data(), answers.size(), MSG_DONTWAIT) > 0) {
    }
    (void)driven->run_once(std::chrono::nanoseconds(0));
  };
  for (const auto& piece : stream) {
    for (std::size_t at = 0; at < piece.size() && ended == 0;) {
      const ssize_t sent =
          ::send(peer.get(), piece.data() + at, piece.size() - at, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent > 0) at += static_cast<std::size_t>(sent);
      run();
    }
    run();
  }
  ::shutdown(peer.get(), SHUT_WR);
  for (int turns = 0; turns < 1000 && ended == 0; ++turns) run();
  FERRY_CHECK(opened == 1 && ended == 1);
  return seen;
}

void run(fuzz_input input) {
  pieces cut;
  if (input.flag()) cut.push_back(good_hello());
  while (!input.empty()) {
    const auto piece = input.bytes(1 + ((input.take<std::uint8_t>() - 1u) & 0xff));
    cut.emplace_back(piece.begin(), piece.end());
  }
  pieces whole(1);
  for (const auto& each : cut) whole[0].insert(whole[0].end(), each.begin(), each.end());
  FERRY_CHECK(feed(cut) == feed(whole));
}

}  // namespace
}  // namespace ferry

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes) {
  static ferry::leak_watch watch;
  ferry::run(ferry::fuzz_input(data, size_bytes));
  watch.after_run();
  return 0;
}
