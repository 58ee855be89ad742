#include "tools/verb_bench.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

namespace ferry::tools {
namespace {

namespace fs = std::filesystem;

// Where the harness lies, seen from the folder of this program.
constexpr const char* in_build_tree = "../perf/ferry-perf";           // build/tools/ferry
constexpr const char* installed = "../" FERRY_LIBEXEC "/ferry-perf";  // PREFIX/bin/ferry

int become_harness(std::vector<std::string> arguments) {
  std::error_code failed;
  const fs::path self = fs::read_symlink("/proc/self/exe", failed);
  if (failed) {
    fmt::print(stderr, "ferry bench: /proc/self/exe: {}\n", failed.message());
    return 1;
  }
  std::vector<fs::path> tried;
  for (const char* place : {in_build_tree, installed}) {
    const fs::path harness = (self.parent_path() / place).lexically_normal();
    tried.push_back(harness);
    if (!fs::exists(harness, failed)) continue;
    std::string name = harness.string();
    std::vector<char*> argv{name.data()};
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    ::execv(name.c_str(), argv.data());
    fmt::print(stderr, "ferry bench: {}: {}\n", name, std::strerror(errno));
    return 1;
  }
  fmt::print(stderr, "ferry bench: the harness ferry-perf is missing; looked for\n");
  for (const fs::path& path : tried) fmt::print(stderr, "  {}\n", path.string());
  fmt::print(stderr,
             "Build it: meson setup --reconfigure BUILD -Dperf=true && ninja -C BUILD, where BUILD "
             "is your build folder.\n");
  return 1;
}

}  // namespace

void add_bench(CLI::App& app, int& status) {
  CLI::App* verb = app.add_subcommand(
      "bench", "Measure this machine: Ferry's figures beside their targets (--help: all options)");
  verb->set_help_flag();   // --help belongs to the harness,
  verb->prefix_command();  // and so does everything else
  verb->callback([verb, &status] { status = become_harness(verb->remaining()); });
}

}  // namespace ferry::tools
