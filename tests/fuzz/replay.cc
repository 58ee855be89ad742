// Runs one fuzz target without libFuzzer: every file of a folder, then mutations of them from a
// fixed seed, always the same ones. So the suite tries each target with any compiler.
// Usage     fuzz-TARGET FOLDER_OR_FILE
// Output    the counts. A run that kills the process, or is ended from outside, first leaves its
//           input in PROGRAM.failed in the working directory, to be run again by that name.
// Exit      0 all ran; 1 there is nothing to run; 2 wrong usage. A broken property aborts.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz.h"

// Sanitizers end a process without a signal. Absent in a build without one.
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace {

using bytes = std::vector<std::uint8_t>;

constexpr std::size_t mutations_in_all = 1000;
constexpr std::size_t most_bytes = 4096;  // of a mutated input
constexpr std::uint64_t seed = 20240229;

// For the signal handler: what runs now, and where to leave it.
const bytes* running = nullptr;
std::string failed_path, failed_note;

void leave_input() {
  if (running == nullptr) return;
  const int fd = ::open(failed_path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
  const bool kept = fd >= 0 && ::write(fd, running->data(), running->size()) >= 0;
  running = nullptr;
  if (kept) (void)!::write(STDERR_FILENO, failed_note.data(), failed_note.size());
}

void die(int signal) {
  leave_input();
  std::signal(signal, SIG_DFL);
  ::raise(signal);
}

void run(const bytes& input) {
  // A copy of the exact size on the heap: the address sanitizer sees each step past its end.
  const bytes exact(input.begin(), input.end());
  running = &exact;
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
  running = nullptr;
}

class mutator {
 public:
  explicit mutator(const std::vector<bytes>& corpus) : corpus_(corpus) {}

  bytes mutate(bytes input) {
    for (std::size_t times = 1 + below(4); times > 0; --times) step(input);
    input.resize(std::min(input.size(), most_bytes));
    return input;
  }

 private:
  // The standard fixes what the engine gives, not what its distributions make of it.
  std::size_t below(std::size_t limit) { return static_cast<std::size_t>(random_() % limit); }
  std::ptrdiff_t place(const bytes& input) {
    return static_cast<std::ptrdiff_t>(below(input.size() + 1));
  }

  void step(bytes& input) {
    static constexpr std::array<std::uint8_t, 8> edges = {0, 1, 0x7f, 0x80, 0xc1, 0xdd, 0xfe, 0xff};
    const auto at = place(input);
    const std::size_t after = input.size() - static_cast<std::size_t>(at);
    switch (below(7)) {
      case 0:  // a bit
        if (after != 0)
          input[static_cast<std::size_t>(at)] ^= static_cast<std::uint8_t>(1u << below(8));
        return;
      case 1:  // a byte at the edge of something
        if (after != 0) input[static_cast<std::size_t>(at)] = edges[below(edges.size())];
        return;
      case 2:  // a number of eight bytes, ones or random
        for (std::size_t i = 0, ones = below(2); i < std::min<std::size_t>(after, 8); ++i) {
          input[static_cast<std::size_t>(at) + i] =
              ones != 0 ? std::uint8_t{0xff} : static_cast<std::uint8_t>(random_());
        }
        return;
      case 3:  // cut short
        input.resize(static_cast<std::size_t>(at));
        return;
      case 4:  // a part lost
        input.erase(input.begin() + at,
                    input.begin() + at + static_cast<std::ptrdiff_t>(below(after + 1)));
        return;
      case 5: {  // a part doubled
        const auto first = input.begin() + at;
        const bytes part(first, first + static_cast<std::ptrdiff_t>(below(after + 1)));
        input.insert(input.begin() + place(input), part.begin(), part.end());
        return;
      }
      default: {  // the end of another
        const bytes& other = corpus_[below(corpus_.size())];
        const auto from = other.begin() + place(other);
        input.erase(input.begin() + at, input.end());
        input.insert(input.end(), from, other.end());
        return;
      }
    }
  }

  const std::vector<bytes>& corpus_;
  std::mt19937_64 random_{seed};
};

std::vector<bytes> read_corpus(const std::filesystem::path& from) {
  std::vector<std::filesystem::path> paths;
  std::error_code why;
  if (std::filesystem::is_regular_file(from, why)) paths.push_back(from);
  for (const auto& entry : std::filesystem::directory_iterator(from, why)) {
    if (entry.is_regular_file()) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());  // the order of a folder is not the same everywhere
  std::vector<bytes> corpus;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return corpus;
}

}  // namespace

int main(int argument_count, char** arguments) {
  if (argument_count != 2) {
    std::fprintf(stderr, "usage: %s FOLDER_OR_FILE\n", arguments[0]);
    return 2;
  }
  const std::string name = std::filesystem::path(arguments[0]).filename().string();
  const std::filesystem::path from = arguments[1];
  const std::vector<bytes> corpus = read_corpus(from);
  if (corpus.empty()) {
    std::fprintf(stderr, "%s: nothing to run in %s\n", name.c_str(), arguments[1]);
    return 1;
  }
  failed_path = name + ".failed";
  failed_note = "replay: the input is in " + failed_path + "\n";
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTERM}) {
    // Those that a sanitizer reports are its own: it calls back when it has.
    const bool reported = signal != SIGABRT && signal != SIGTERM;
    if (!reported || __sanitizer_set_death_callback == nullptr) std::signal(signal, die);
  }
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(leave_input);

  for (const bytes& input : corpus) run(input);
  std::size_t mutations = 0;
  if (std::filesystem::is_directory(from)) {
    mutator mutations_of(corpus);
    for (; mutations < mutations_in_all; ++mutations) {
      run(mutations_of.mutate(corpus[mutations % corpus.size()]));
    }
  }
  std::printf("%s: %zu inputs and %zu mutations of them\n", name.c_str(), corpus.size(), mutations);
  return 0;
}
