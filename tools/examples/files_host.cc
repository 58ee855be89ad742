// The host of the example: has a worker compute over files, through shared memory, and checks it.
// Exit      0 all verified; 1 a file was not processed, changed meanwhile, or its answer was wrong;
//           2 usage; 3 no worker, or none that lives; 128 + n after signal n (130 for Ctrl-C).
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <sstream>

#include "tools/examples/file_sender.h"

namespace {

namespace examples = ferry::examples;

constexpr int problem_status = 1;
constexpr int usage_status = 2;
constexpr int worker_status = 3;
constexpr int signal_status = 128;

constexpr const char* footer =
    "Without FILE: every regular file under /usr/bin and /usr/share/doc that may be read.\n"
    "\n"
    "Examples:\n"
    "  files-host\n"
    "  files-host --print *.iso > SHA256SUMS         as sha256sum, the summary on stderr\n"
    "  files-host --job search --pattern ferry *.h   occurrences and the first offset\n"
    "  files-host --json --max-body 64MiB /var/log/*\n"
    "\n"
    "Exit status: 0 all verified, 1 trouble with a file, 2 usage, 3 trouble with the worker,\n"
    "130 after Ctrl-C (a second one ends it at once).";

// A signal handler can reach nothing but a global.
volatile std::sig_atomic_t caught_signal = 0;

void catch_signals() {
  struct sigaction action {};
  action.sa_handler = [](int number) { caught_signal = number; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (const int number : {SIGINT, SIGTERM}) {
    struct sigaction before {};
    // Who started us in the background may have asked for it to be ignored: so it stays.
    if (::sigaction(number, nullptr, &before) == 0 && before.sa_handler != SIG_IGN) {
      (void)::sigaction(number, &action, nullptr);
    }
  }
}

struct arguments {
  std::vector<std::string> files;
  std::string job = "sha256";
  std::string pattern;
  std::string worker;
  std::string reactor = "auto";
  std::string wait = "adaptive";
  std::uint32_t in_flight = 4;
  std::uint64_t in_flight_bytes = 256 << 20;
  std::uint64_t max_body = 1 << 30;
  std::uint32_t timeout_s = 60;
  bool print = false;
  bool json = false;
  bool verbose = false;
};

// The same check without its long description in --help.
CLI::Validator quiet(CLI::Validator check) { return check.description(""); }

void describe(CLI::App& app, arguments& to) {
  // An arena may hold 256 GiB: the upper limits leave room for twice both.
  const auto sizes = quiet(CLI::Range(std::uint64_t{1}, std::uint64_t{64} << 30));
  app.add_option("FILE", to.files, "Files to send")->type_name("");
  app.add_option("--job", to.job, "What the worker does with each file: sha256, wc or search")
      ->type_name("JOB")
      ->check(quiet(CLI::IsMember({"sha256", "wc", "search"})))
      ->capture_default_str();
  app.add_option("--pattern", to.pattern, "What --job search looks for")->type_name("TEXT");
  app.add_option("--in-flight", to.in_flight, "Calls at once, at most 1024")
      ->type_name("N")
      ->check(quiet(CLI::Range(1, 1024)))
      ->capture_default_str();
  app.add_option("--in-flight-bytes", to.in_flight_bytes,
                 "Their bytes at once; a larger file goes alone")
      ->type_name("SIZE")
      ->transform(quiet(CLI::AsSizeValue(true)))
      ->check(sizes)
      ->default_str("256MiB");
  app.add_option("--max-body", to.max_body, "Larger files are not sent; at most 64GiB")
      ->type_name("SIZE")
      ->transform(quiet(CLI::AsSizeValue(true)))
      ->check(sizes)
      ->default_str("1GiB");
  app.add_option("--timeout", to.timeout_s, "How long an answer may take")
      ->type_name("SECONDS")
      ->check(quiet(CLI::Range(1, 86400)))
      ->capture_default_str();
  app.add_option("--worker", to.worker,
                 "Its command, instead of the files-worker beside this program")
      ->type_name("CMD");
  app.add_option("--reactor", to.reactor, "auto, io_uring or epoll")
      ->type_name("KIND")
      ->check(quiet(CLI::IsMember({"auto", "io_uring", "epoll"})))
      ->capture_default_str();
  app.add_option("--wait", to.wait, "How to wait for the worker: adaptive, spin or block")
      ->type_name("MODE")
      ->check(quiet(CLI::IsMember({"adaptive", "spin", "block"})))
      ->capture_default_str();
  auto* print = app.add_flag("--print", to.print, "Print each answer and its file's name");
  app.add_flag("--json", to.json, "Print the summary as one JSON object")->excludes(print);
  app.add_flag("-v,--verbose", to.verbose, "Say something about every file");
  app.footer(footer);
}

// A program of that very name, or a program and its arguments with spaces between.
std::vector<std::string> command_of(const std::string& given) {
  if (given.empty()) {
    return {std::filesystem::read_symlink("/proc/self/exe").replace_filename("files-worker")};
  }
  if (::access(given.c_str(), X_OK) == 0) return {given};
  std::istringstream words(given);
  return {std::istream_iterator<std::string>(words), {}};
}

ferry::wait_mode wait_of(const std::string& name) {
  if (name == "spin") return ferry::wait_mode::spin;
  return name == "block" ? ferry::wait_mode::block : ferry::wait_mode::adaptive;
}

examples::sender_options sender_of(const arguments& from) {
  examples::sender_options out;
  out.command = command_of(from.worker);
  out.max_in_flight = from.in_flight;
  out.max_in_flight_bytes = from.in_flight_bytes;
  out.max_body_bytes = from.max_body;
  out.print = from.print;
  ferry::client_options& client = out.launch.client;
  client.timeout = std::chrono::seconds(from.timeout_s);
  client.max_calls = from.in_flight;
  client.session.wait.mode = wait_of(from.wait);
  client.session.reactor =
      ferry::parse_reactor_kind(from.reactor).value();  // checked by describe()
  // Room for what is in flight and for the next file, besides what the segments lose at their ends.
  client.session.arena.quota_bytes =
      std::max(client.session.arena.quota_bytes, 2 * (from.max_body + from.in_flight_bytes));
  return out;
}

int run(const arguments& from) {
  const auto job = examples::make_job(from.job, from.pattern);
  if (!job) {
    fmt::print(stderr, "files-host: {}\n", job.error().message());
    return usage_status;
  }
  examples::console console(::isatty(STDERR_FILENO) != 0, from.verbose);
  examples::summary summary;
  summary.job = from.job;
  examples::file_sender sender(sender_of(from), *job, console, summary, caught_signal);
  if (!sender.start_worker()) return worker_status;
  catch_signals();

  auto list = from.files.empty() ? examples::list_beneath({"/usr/bin", "/usr/share/doc"})
                                 : examples::list_named(from.files);
  summary.skipped = std::move(list.skipped);
  const auto began = std::chrono::steady_clock::now();
  const auto end = sender.send_all(std::move(list.files));
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  console.clear();

  if (end == examples::run_end::interrupted) {
    summary.status = signal_status + caught_signal;
    console.say("stopped by a signal");
  } else if (end == examples::run_end::worker_unusable) {
    summary.status = worker_status;
  } else if (!summary.problems.empty()) {
    summary.status = problem_status;
  }
  std::FILE* out = from.print ? stderr : stdout;  // a list of digests stays one
  from.json ? print_json(out, summary) : print_text(out, summary);
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    console.say("cannot write to the standard output");
    return summary.status == 0 ? problem_status : summary.status;
  }
  return summary.status;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Has a worker compute over files that it reads in shared memory, and checks every answer.",
      "files-host");
  arguments from;
  describe(app, from);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {  // --help
    return app.exit(asked);
  } catch (const CLI::ParseError& wrong) {
    fmt::print(stderr, "files-host: {}\nRun `files-host --help` for what there is.\n",
               wrong.what());
    return usage_status;
  }
  try {
    return run(from);
  } catch (const std::exception& failure) {
    fmt::print(stderr, "files-host: {}\n", failure.what());
    return problem_status;
  }
}
