#include "tools/examples/summary.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace ferry::examples {
namespace {

using reasons = std::map<problem_kind, std::uint64_t>;

reasons counted(const std::vector<summary::trouble>& problems) {
  reasons out;
  for (const auto& each : problems) ++out[each.what.kind];
  return out;
}

// "3 (missing 1, directory 2)"
std::string as_text(const reasons& of) {
  std::uint64_t sum = 0;
  std::string list;
  for (const auto& [kind, count] : of) {
    sum += count;
    list.append(fmt::format("{}{} {}", list.empty() ? "" : ", ", name_of(kind), count));
  }
  return list.empty() ? "0" : fmt::format("{} ({})", sum, list);
}

nlohmann::ordered_json as_json(const reasons& of) {
  auto out = nlohmann::ordered_json::object();
  for (const auto& [kind, count] : of) out[std::string(name_of(kind))] = count;
  return out;
}

}  // namespace

void print_text(std::FILE* out, const summary& of) {
  fmt::print(out, "files      {}{}\n", of.files,
             of.empty == 0 ? "" : fmt::format(" ({} of them empty)", of.empty));
  fmt::print(out, "bytes      {}\n", of.bytes);
  fmt::print(out, "seconds    {:.3f}\n", of.seconds);
  fmt::print(out, "GB/s       {:.3f} ({}, {})\n", of.gb_per_s(), of.job, of.reactor);
  fmt::print(out, "verified   {}\n", of.verified);
  fmt::print(out, "failed     {}\n", of.failed);
  fmt::print(out, "skipped    {}\n", as_text(of.skipped));
  fmt::print(out, "problems   {}\n", as_text(counted(of.problems)));
  if (of.not_sent != 0) fmt::print(out, "not sent   {}\n", of.not_sent);
  if (of.relaunches != 0) fmt::print(out, "relaunched {}\n", of.relaunches);
}

void print_json(std::FILE* out, const summary& of) {
  auto problems = nlohmann::ordered_json::array();
  for (const auto& each : of.problems) {
    problems.push_back(
        {{"name", each.name}, {"reason", name_of(each.what.kind)}, {"text", each.what.text}});
  }
  const nlohmann::ordered_json document{
      {"job", of.job},
      {"reactor", of.reactor},
      {"files", of.files},
      {"empty", of.empty},
      {"bytes", of.bytes},
      {"seconds", of.seconds},
      {"gb_per_s", of.gb_per_s()},
      {"verified", of.verified},
      {"failed", of.failed},
      {"skipped", as_json(of.skipped)},
      {"problem_counts", as_json(counted(of.problems))},
      {"problems", problems},
      {"not_sent", of.not_sent},
      {"relaunches", of.relaunches},
      {"status", of.status},
  };
  // A file name may hold any bytes; they must not make the output fail.
  fmt::print(out, "{}\n",
             document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace ferry::examples
