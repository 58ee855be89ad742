// The figures of the data plane: each measures what its name says, beside the limit that bounds it,
// several times in turn, and reports medians.
// Source    perf/README.md, "Figures".
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "perf/measure.h"

namespace ferry::perf {

// One line of the report.
struct figure {
  std::string name;       // what was measured, with its placement
  std::string measured;   // with unit
  std::string reference;  // the limit of the same run, with unit; may be empty
  std::string ratio;      // measured against reference; may be empty
  std::string target;
  bool met = false;
};

struct effort {
  int repeats = 3;
  clock::duration run_for = std::chrono::milliseconds(300);  // of one measurement
};

struct figure_group {
  const char* name;  // to select it
  const char* question;
  std::vector<figure> (*measure)(const effort&);
};
const std::vector<figure_group>& all_groups();

// The groups, one file each.
std::vector<figure> round_trips(const effort&);       // figures_latency.cc
std::vector<figure> waiting_policies(const effort&);  // figures_waiting.cc
std::vector<figure> throughput(const effort&);        // figures_bodies.cc
std::vector<figure> handing_over(const effort&);
std::vector<figure> footprint(const effort&);          // figures_memory.cc
std::vector<figure> typed_calls(const effort&);        // figures_calls.cc
std::vector<figure> streams(const effort&);            // figures_streams.cc
std::vector<figure> many_at_once(const effort&);       // figures_many.cc
std::vector<figure> channels(const effort&);           // figures_channel.cc
std::vector<figure> channel_isolation(const effort&);  // figures_isolation.cc

}  // namespace ferry::perf
