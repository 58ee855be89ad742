// A worker that misbehaves, for the test of files-host: its argument says how.
#include <unistd.h>

#include <csignal>
#include <string>

#include "worker/worker.h"

namespace {

using ferry::body;
using ferry::context;

void misbehave(const std::string& how, context& call) {
  if (how == "wrong") return (void)call.reply(std::string(32, '\0'));
  if (how == "short") return (void)call.reply(std::string_view("abc"));
  if (how == "refuse") return (void)call.fail(ferry::errc::invalid_params, "not to my taste");
  if (how == "hang") ::pause();
  if (how == "die") ::kill(::getpid(), SIGKILL);
  // Anything else: no answer at all.
}

}  // namespace

int main(int argc, char** argv) {
  const std::string how = argc > 1 ? argv[1] : "";
  ferry::worker w;
  if (how != "ignorant") w.raw("sha256", [&](context& call, body) { misbehave(how, call); });
  return w.main();
}
