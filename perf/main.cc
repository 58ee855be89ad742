// ferry-perf: measures the figures of the data plane and prints them beside their targets.
#include <fmt/format.h>
#include <sys/utsname.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "perf/figures.h"

namespace ferry::perf {

const std::vector<figure_group>& all_groups() {
  static const std::vector<figure_group> groups{
      {"rtt", "What does a call cost beside the bare ring, and asleep beside a bare wakeup?",
       round_trips},
      {"adaptive", "Is adaptive as good as the better of spin and block, wherever it runs?",
       waiting_policies},
      {"throughput", "How many calls and bytes a second beside the limits?", throughput},
      {"handover", "Does handing over a body cost the same at every size?", handing_over},
      {"channels", "What does a channel over a Unix socket cost beside bare gather writes?",
       channels},
      {"isolation",
       "What does one channel feel of another's flood, or of who reads its statistics?",
       channel_isolation},
      {"memory", "What does a worker cost idle, and with a gigabyte passing through?", footprint},
      {"calls", "What do descriptors and coroutines add to a call?", typed_calls},
      {"streams", "How many items a second, and what does a slow reader cost?", streams},
      {"many", "What do many threads, or many idle sessions, cost?", many_at_once},
  };
  return groups;
}

namespace {

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown CPU";
}

void print(const figure& line) {
  fmt::print("{:<7} {}\n        {}", line.met ? "met" : "MISSED", line.name, line.measured);
  if (!line.reference.empty()) fmt::print("; {}", line.reference);
  if (!line.ratio.empty()) fmt::print("; {}", line.ratio);
  fmt::print("; target {}\n", line.target);
  std::fflush(stdout);
}

int run(const std::vector<std::string>& selected, const effort& how, bool json) {
  utsname system{};
  ::uname(&system);
  const std::string machine = fmt::format("{}, {} CPUs, Linux {}", cpu_model(),
                                          std::thread::hardware_concurrency(), system.release);
  if (!json) {
    fmt::print("Figures: medians of {} repeats of {} ms, each in turn with its limit.\n{}\n\n",
               how.repeats,
               std::chrono::duration_cast<std::chrono::milliseconds>(how.run_for).count(), machine);
  }
  nlohmann::json out{
      {"machine", machine}, {"repeats", how.repeats}, {"figures", nlohmann::json::array()}};
  int measured = 0, met = 0;
  for (const figure_group& group : all_groups()) {
    if (!selected.empty() && std::ranges::find(selected, group.name) == selected.end()) continue;
    for (const figure& line : group.measure(how)) {
      ++measured;
      met += line.met ? 1 : 0;
      if (json) {
        out["figures"].push_back({{"group", group.name},
                                  {"name", line.name},
                                  {"measured", line.measured},
                                  {"reference", line.reference},
                                  {"ratio", line.ratio},
                                  {"target", line.target},
                                  {"met", line.met}});
      } else {
        print(line);
      }
    }
  }
  if (json) {
    fmt::print("{}\n", out.dump(2));
  } else {
    fmt::print("\n{} of {} figures meet their targets.\n", met, measured);
  }
  return 0;
}

}  // namespace
}  // namespace ferry::perf

int main(int argc, char** argv) {
  using namespace ferry::perf;
  CLI::App app("Measures the figures of the data plane beside the machine's own limits.",
               "ferry bench");
  std::vector<std::string> selected;
  std::vector<std::string> names;
  std::string groups = "Groups:\n";
  for (const figure_group& group : all_groups()) {
    names.emplace_back(group.name);
    groups += fmt::format("  {:<12} {}\n", group.name, group.question);
  }
  effort how;
  bool quick = false, json = false;
  int run_ms = 0;
  app.add_option("group", selected, "What to measure; everything if none is named")
      ->check(CLI::IsMember(names));
  app.add_flag("--quick", quick, "Shorter measurements: 3 repeats of 100 ms");
  app.add_option("--repeats", how.repeats, "Repeats of each measurement; medians are reported")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--run-ms", run_ms, "Length of one measurement in milliseconds (300)")
      ->check(CLI::Range(1, 60000));
  app.add_flag("--json", json, "Print JSON");
  app.footer(
      groups +
      "\nExamples:\n  ferry bench --quick\n  ferry bench rtt adaptive --repeats 5\n"
      "\nA missed target is reported, not an error: the exit status is 0 when everything could be "
      "measured.");
  CLI11_PARSE(app, argc, argv);
  if (quick) how.run_for = std::chrono::milliseconds(100);
  if (run_ms != 0) how.run_for = std::chrono::milliseconds(run_ms);
  return run(selected, how, json);
}
