// The program `ferry`: one file a verb, each adding itself to the command line.
// Exit      the verb's status; 2 for a command line that makes no sense.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "tools/verb_bench.h"
#include "tools/verb_version.h"

namespace {

constexpr int usage_status = 2;

constexpr const char* examples =
    "Examples:\n"
    "  ferry version --json       what a bug report needs\n"
    "  ferry bench --quick        this machine's figures beside their targets\n"
    "  ferry bench --help         what can be measured\n";

// Colours are for people: only on a terminal, and never against NO_COLOR.
void complain(const char* what) {
  const bool colours = ::isatty(STDERR_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
  fmt::print(stderr, "{}ferry: {}{}\n", colours ? "\033[31m" : "", what, colours ? "\033[0m" : "");
}

int run(int argc, char** argv) {
  CLI::App app("Calls between processes through shared memory, without copies.", "ferry");
  app.set_version_flag("--version", "ferry " FERRY_VERSION);
  app.footer(examples);
  app.require_subcommand(0, 1);

  int status = usage_status;
  ferry::tools::add_version(app, status);
  ferry::tools::add_bench(app, status);

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {  // --help, --version
    return app.exit(asked);
  } catch (const CLI::ParseError& wrong) {
    complain(wrong.what());
    fmt::print(stderr, "Run `ferry --help` for what there is.\n");
    return usage_status;
  }
  if (app.get_subcommands().empty()) fmt::print(stderr, "{}", app.help());
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& failure) {
    complain(failure.what());
    return 1;
  }
}
