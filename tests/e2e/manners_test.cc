// A library among others: it starts no thread, takes no signal, prints nothing.
#include <fcntl.h>
#include <sys/mman.h>

#include <array>
#include <csignal>
#include <cstring>
#include <iostream>

#include "tests/e2e/e2e.h"
#include "tests/e2e/process.h"

namespace ferry {
namespace {

using manners = e2e;

// A bit of everything, errors included.
void use_everything() {
  launched host = [] {
    auto started = launch({neighbour("test-worker")});
    if (!started) throw std::runtime_error(started.error().message());
    return std::move(*started);
  }();
  (void)host.call("echo", bytes_of("x"));
  (void)host.call("echo", bytes_of(std::string(100'000, 'x')));
  (void)host.call("throw", bytes_of("on purpose"));
  (void)host.call("no such function", no_bytes);
  (void)host.invoke<int>("add", 1, 2);
  (void)host.call_async(function_id{0}, bytes_of("x"), [](call_result&&) {});
  (void)host.run_once(10ms);
  (void)host.fd();
  (void)host.call("die", no_bytes);
  (void)host.call("echo", bytes_of("x"));
  (void)launch({"/nowhere/worker"});
}

TEST_F(manners, start_no_thread) {
  const auto before = threads_of(::getpid());
  {
    launched host = start();
    EXPECT_EQ(ask(host, "echo", std::string(100'000, 'x')).size(), 100'000u);
    EXPECT_EQ(threads_of(::getpid()), before);
    // One more in a sanitized worker is the sanitizer's own.
    EXPECT_LE(threads_of(host.pid()), sanitized ? 2u : 1u);
  }
  use_everything();
  EXPECT_EQ(threads_of(::getpid()), before);
}

TEST_F(manners, install_no_signal_handler_and_block_no_signal) {
  const auto all = [] {
    std::array<struct sigaction, NSIG> actions{};
    for (int signal = 1; signal < NSIG; ++signal) {
      (void)::sigaction(signal, nullptr, &actions[static_cast<std::size_t>(signal)]);
    }
    return actions;
  };
  const auto before = all();
  sigset_t mask_before, mask_after;
  ::sigprocmask(SIG_BLOCK, nullptr, &mask_before);
  use_everything();
  const auto after = all();
  ::sigprocmask(SIG_BLOCK, nullptr, &mask_after);
  for (std::size_t signal = 1; signal < NSIG; ++signal) {
    EXPECT_EQ(before[signal].sa_handler, after[signal].sa_handler) << signal;
    EXPECT_EQ(before[signal].sa_flags, after[signal].sa_flags) << signal;
    EXPECT_EQ(::sigismember(&mask_before, static_cast<int>(signal)),
              ::sigismember(&mask_after, static_cast<int>(signal)))
        << signal;
  }
}

TEST_F(manners, print_nothing) {
  const unique_fd file(::memfd_create("printed", MFD_CLOEXEC));
  const unique_fd out(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0));
  const unique_fd err(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0));
  std::fflush(nullptr);
  ::dup2(file.get(), STDOUT_FILENO);
  ::dup2(file.get(), STDERR_FILENO);
  use_everything();
  std::fflush(nullptr);
  ::dup2(out.get(), STDOUT_FILENO);
  ::dup2(err.get(), STDERR_FILENO);
  std::string printed(1'000, '\0');
  const auto count = ::pread(file.get(), printed.data(), printed.size(), 0);
  ASSERT_GE(count, 0);
  printed.resize(static_cast<std::size_t>(count));
  EXPECT_EQ(printed, "");
}

TEST_F(manners, survive_a_write_to_a_dead_worker_without_a_signal) {
  launched host = start();
  const auto echo = id_of(host, "echo");
  host.process().kill(SIGKILL);
  ASSERT_TRUE(host.process().wait(generous));
  // A SIGPIPE would end this program. The first large body sends a packet.
  EXPECT_EQ(code_of(host.call(echo, bytes_of(std::string(100'000, 'x')))), errc::unavailable);
}

}  // namespace
}  // namespace ferry
