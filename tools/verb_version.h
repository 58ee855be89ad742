// `ferry version`: what this program is and what it runs on; the first thing a bug report needs.
// Output    lines of `name  value`, or one JSON object with --json: version, compiler, build,
//           reactor {kind, why}, kernel, machine.
// Errors    none: what cannot be found out is said in its place.
#pragma once
#include <CLI/CLI.hpp>

namespace ferry::tools {

// Adds the verb to `app`; when it was chosen, parsing leaves its exit status in `status`.
void add_version(CLI::App& app, int& status);

}  // namespace ferry::tools
