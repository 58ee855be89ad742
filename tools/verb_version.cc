#include "tools/verb_version.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/reactor/reactor.h"

namespace ferry::tools {
namespace {

struct facts {
  std::string compiler;
  std::string build;
  std::string reactor_kind;
  std::string reactor_why;
  std::string kernel;
  std::string machine;
};

std::string compiler_name() {
#if defined(__clang__)
  return fmt::format("clang++ {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  return fmt::format("g++ {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
}

facts find_out() {
  facts found;
  found.compiler = compiler_name();
  found.build = FERRY_BUILD;
  if (const auto made = reactor::create()) {
    found.reactor_kind = name_of((*made)->kind());
    found.reactor_why = (*made)->why();
  } else {
    found.reactor_kind = "none";
    found.reactor_why = made.error().message();
  }
  utsname system{};
  if (::uname(&system) == 0) {
    found.kernel = fmt::format("{} {}", system.sysname, system.release);
    found.machine = system.machine;
  } else {
    found.kernel = found.machine = "unknown";
  }
  return found;
}

void print_text(const facts& found) {
  fmt::print("ferry     {}\n", FERRY_VERSION);
  fmt::print("compiler  {}, {} build\n", found.compiler, found.build);
  fmt::print("reactor   {}: {}\n", found.reactor_kind, found.reactor_why);
  fmt::print("kernel    {}, {}\n", found.kernel, found.machine);
}

void print_json(const facts& found) {
  const nlohmann::ordered_json out{
      {"version", FERRY_VERSION},
      {"compiler", found.compiler},
      {"build", found.build},
      {"reactor", {{"kind", found.reactor_kind}, {"why", found.reactor_why}}},
      {"kernel", found.kernel},
      {"machine", found.machine},
  };
  // A kernel's name may hold any bytes; they must not make the output fail.
  fmt::print("{}\n", out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace

void add_version(CLI::App& app, int& status) {
  CLI::App* verb = app.add_subcommand(
      "version", "Print the version, the compiler, the reactor in use and why, and the kernel");
  auto json = std::make_shared<bool>(false);
  verb->add_flag("--json", *json, "Print one JSON object");
  verb->callback([json, &status] {
    const facts found = find_out();
    *json ? print_json(found) : print_text(found);
    status = 0;
  });
}

}  // namespace ferry::tools
