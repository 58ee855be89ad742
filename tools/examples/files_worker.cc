// The worker of the example: functions over the bytes of a file, read where the host put them.
//   sha256   any bytes                        -> the 32 bytes of the digest
//   wc       any bytes                        -> text_counts
//   search   needle and text, see text.h      -> search_answer; 1001 if that is not what came
// Started by files-host. Exit 0 when the host closes the session, 1 when it dies or is no host.
#include <csignal>

#include "tools/examples/sha256.h"
#include "tools/examples/text.h"
#include "worker/worker.h"

namespace {

namespace examples = ferry::examples;
using ferry::body;
using ferry::context;

// Gives the argument's memory back, then answers: who has the answer has the memory, too.
void answer(context& call, body& argument, std::span<const std::byte> bytes) {
  argument = body();
  (void)call.reply(bytes);  // on failure the host is gone, and run() says so
}

template <class T>
void answer_value(context& call, body& argument, const T& value) {
  std::byte small[64];
  ferry::value_writer writer(small);
  ferry::encode(writer, value);
  answer(call, argument, writer.bytes());
}

}  // namespace

int main() {
  // Ctrl-C reaches the whole foreground group. What becomes of the calls in flight is the host's
  // business; this process ends with the session.
  std::signal(SIGINT, SIG_IGN);

  ferry::worker w;
  examples::sha256 hasher;
  w.raw("sha256", [&](context& call, body argument) {
    answer(call, argument, hasher.digest(argument.bytes()));
  });
  w.raw("wc", [](context& call, body argument) {
    answer_value(call, argument, examples::count_text(argument.bytes()));
  });
  w.raw("search", [](context& call, body argument) {
    const auto asked = examples::read_search(argument.bytes());
    if (!asked) return (void)call.fail(asked.error().code, asked.error().message());
    answer_value(call, argument, examples::search_text(asked->needle, asked->text));
  });
  return w.main();
}
