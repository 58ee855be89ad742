// `ferry bench`: becomes the perf harness, ferry-perf, a program of its own so that this one stays
// small. Every argument after the verb is the harness's, --help too.
// Errors    exit status 1 when the harness is not where the build or the installation puts it.
// Source    perf/ in this tree: what is measured, and against what.
#pragma once
#include <CLI/CLI.hpp>

namespace ferry::tools {

// Adds the verb to `app`; when it was chosen, parsing replaces the process or sets `status`.
void add_bench(CLI::App& app, int& status);

}  // namespace ferry::tools
