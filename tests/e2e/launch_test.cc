// Starting workers: what can go wrong, what a worker gets, and what is left when it is gone.
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

#include <array>
#include <csignal>

#include "shm/socket.h"
#include "tests/e2e/e2e.h"
#include "tests/e2e/process.h"

namespace ferry {
namespace {

using launching = e2e;

launch_options with_hello_within(std::chrono::nanoseconds limit) {
  launch_options options;
  options.client.session.hello_timeout = limit;
  return options;
}

bool mentions(const call_error& why, std::string_view part) {
  return why.message().find(part) != std::string::npos;
}

// True if the pid names no process any more, not even a zombie.
bool is_gone(pid_t pid) { return ::kill(pid, 0) != 0 && errno == ESRCH; }

TEST_F(launching, a_program_that_is_not_there_says_so_with_its_name) {
  const auto missing = launch({"/nowhere/worker"});
  EXPECT_EQ(code_of(missing), errc::refused);
  EXPECT_TRUE(mentions(missing.error(), "/nowhere/worker")) << missing.error().message();
  EXPECT_TRUE(mentions(missing.error(), "No such file")) << missing.error().message();
  EXPECT_EQ(code_of(launch({})), errc::bad_argument);
  EXPECT_EQ(code_of(launch({""})), errc::bad_argument);
}

TEST_F(launching, a_program_that_ends_at_once_says_with_which_status) {
  const auto failed = launch({"sh", "-c", "exit 7"});
  EXPECT_EQ(code_of(failed), errc::unavailable);
  EXPECT_TRUE(mentions(failed.error(), "exit status 7")) << failed.error().message();
  const auto killed = launch({"sh", "-c", "kill -9 $$"});
  EXPECT_EQ(code_of(killed), errc::unavailable);
  EXPECT_TRUE(mentions(killed.error(), "signal 9")) << killed.error().message();
}

TEST_F(launching, a_program_that_is_no_worker_is_given_up_and_ended) {
  const auto before = steady::now();
  const auto silent = launch({"sleep", "60"}, with_hello_within(100ms));
  EXPECT_EQ(code_of(silent), errc::timeout);
  EXPECT_LT(steady::now() - before, 30s);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);  // no child is left, not even a zombie
  EXPECT_EQ(errno, ECHILD);
}

TEST_F(launching, a_program_that_babbles_into_its_socket_is_refused) {
  const auto odd = launch({"sh", "-c", "echo hello >&3; exec sleep 60"});
  EXPECT_EQ(code_of(odd), errc::corrupt);
}

TEST_F(launching, a_worker_that_prints_does_not_disturb_the_calls) {
  std::array<int, 2> out;
  ASSERT_EQ(::pipe2(out.data(), O_CLOEXEC), 0);
  const unique_fd read_end(out[0]), saved(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0));
  ASSERT_GE(::dup2(out[1], STDOUT_FILENO), 0);
  ::close(out[1]);
  {
    launched host = start();
    EXPECT_EQ(ask(host, "print", "a line on stdout"), "printed");
    EXPECT_EQ(ask(host, "echo", "x"), "x");
  }
  ::dup2(saved.get(), STDOUT_FILENO);
  std::array<char, 100> text{};
  const auto count = ::read(read_end.get(), text.data(), text.size());
  EXPECT_EQ(std::string_view(text.data(), count < 0 ? 0 : static_cast<std::size_t>(count)),
            "a line on stdout\n");
}

// --- started without a host ---------------------------------------------------------------------

struct ended_program {
  exit_status status;
  std::string errors;
};

// Runs the test worker as a shell would, with the variable set or not.
ended_program by_hand(const char* socket_fd) {
  std::array<int, 2> out;
  if (::pipe2(out.data(), O_CLOEXEC) != 0) return {};
  const unique_fd read_end(out[0]);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(out[1], STDERR_FILENO);
    ::unsetenv("FERRY_SOCKET_FD");
    if (socket_fd != nullptr) ::setenv("FERRY_SOCKET_FD", socket_fd, 1);
    const std::string program = neighbour("test-worker");
    ::execl(program.c_str(), program.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(out[1]);
  ended_program ended;
  std::array<char, 500> text;
  for (;;) {
    const auto count = ::read(read_end.get(), text.data(), text.size());
    if (count <= 0) break;
    ended.errors.append(text.data(), static_cast<std::size_t>(count));
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  ended.status =
      WIFEXITED(status) ? exit_status{WEXITSTATUS(status), 0} : exit_status{0, WTERMSIG(status)};
  return ended;
}

TEST_F(launching, a_worker_by_hand_ends_with_1_and_says_what_it_lacks) {
  const auto ended = by_hand(nullptr);
  EXPECT_EQ(ended.status.message(), "exit status 1");
  EXPECT_NE(ended.errors.find("FERRY_SOCKET_FD is not set"), std::string::npos) << ended.errors;
  EXPECT_EQ(std::ranges::count(ended.errors, '\n'), 1) << ended.errors;
}

TEST_F(launching, a_worker_by_hand_with_a_useless_descriptor_says_so) {
  for (const char* value : {"", "three", "3x", "-1", "0", "2", "999", "99999999999999999999"}) {
    const auto ended = by_hand(value);
    EXPECT_EQ(ended.status.message(), "exit status 1") << value;
    EXPECT_NE(ended.errors.find(std::string("FERRY_SOCKET_FD=") + value), std::string::npos)
        << ended.errors;
  }
}

// --- what a worker gets -------------------------------------------------------------------------

TEST_F(launching, passes_the_environment_and_what_is_added_to_it) {
  ::setenv("FERRY_TEST_INHERITED", "from the host", 1);
  ::setenv("FERRY_TEST_REPLACED", "old", 1);
  launch_options options;
  options.environment = {"FERRY_TEST_ADDED=new = newer", "FERRY_TEST_REPLACED=new"};
  launched host = start(std::move(options));
  EXPECT_EQ(ask(host, "environment", "FERRY_TEST_INHERITED"), "from the host");
  EXPECT_EQ(ask(host, "environment", "FERRY_TEST_ADDED"), "new = newer");
  EXPECT_EQ(ask(host, "environment", "FERRY_TEST_REPLACED"), "new");
  // Its own children must not take the socket for theirs.
  EXPECT_EQ(ask(host, "environment", "FERRY_SOCKET_FD"), "unset");
  ::unsetenv("FERRY_TEST_INHERITED");
  ::unsetenv("FERRY_TEST_REPLACED");
}

TEST_F(launching, leaks_no_descriptor_of_the_host_into_the_worker) {
  const unique_fd inheritable(::open("/dev/zero", O_RDONLY));  // without close-on-exec
  const unique_fd high(::fcntl(inheritable.get(), F_DUPFD, 500));
  launched first = start();
  launched second = start();
  EXPECT_EQ(ask(second, "echo", "x"), "x");
  std::size_t sockets = 0;
  for (const auto& each : descriptors_of(second.pid())) {
    EXPECT_EQ(each.find("/dev/zero"), std::string::npos) << each;
    sockets += each.find("socket:") != std::string::npos;
  }
  EXPECT_EQ(sockets, 1u + (descriptors_of(::getpid()).count("0 socket:") != 0));
  // The other end of the first worker's socket is nowhere but here: it ends when we close it.
  const pid_t pid = first.pid();
  first.close();
  EXPECT_TRUE(first.process().wait(generous).has_value()) << pid;
}

TEST_F(launching, gives_the_worker_default_signals_whatever_the_host_has) {
  struct sigaction ignore {
  }, before{};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGTERM, &ignore, &before);
  sigset_t blocked, mask_before;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &blocked, &mask_before);
  launched host = start();
  ::sigprocmask(SIG_SETMASK, &mask_before, nullptr);
  ::sigaction(SIGTERM, &before, nullptr);
  host.process().kill(SIGTERM);
  const auto status = host.process().wait(generous);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->signal, SIGTERM);
}

TEST_F(launching, tells_the_pid_of_the_worker_in_three_ways) {
  launched host = start();
  EXPECT_EQ(ask(host, "pid"), std::to_string(host.pid()));
  EXPECT_EQ(static_cast<pid_t>(host.worker_pid()), host.pid());
}

TEST_F(launching, works_with_a_full_set_of_standard_descriptors_or_none) {
  const pid_t pid = ::fork();
  if (pid == 0) {  // stdin, stdout and stderr closed: the socket pair then takes their numbers
    const std::string program = neighbour("test-worker");
    for (int fd = 0; fd < 3; ++fd) ::close(fd);
    auto host = launch({program});
    if (!host) ::_exit(1);
    ::_exit(text_of(host->call("echo", bytes_of("x"))) == "x" ? 0 : 2);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
}

// --- the end ------------------------------------------------------------------------------------

TEST_F(launching, ends_the_worker_with_the_object_and_leaves_no_zombie) {
  pid_t pid = 0;
  {
    launched host = start();
    pid = host.pid();
    EXPECT_FALSE(is_gone(pid));
  }
  EXPECT_TRUE(is_gone(pid));
}

TEST_F(launching, lets_the_worker_end_in_order_when_it_is_closed) {
  launched host = start();
  host.close();
  const auto status = host.process().wait(generous);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->message(), "exit status 0");
}

TEST_F(launching, kills_a_worker_that_does_not_end_within_the_grace_period) {
  launch_options options;
  options.grace = 50ms;
  const auto before = steady::now();
  pid_t pid = 0;
  {
    launched host = start(std::move(options));
    pid = host.pid();
    ASSERT_TRUE(host.call_async(id_of(host, "sleep_ms"), bytes_of("60000"), [](call_result&&) {}));
    EXPECT_TRUE(eventually([&] { return status_of(pid, "voluntary_ctxt_switches") > 0; }));
  }
  EXPECT_TRUE(is_gone(pid));
  EXPECT_LT(steady::now() - before, 30s);
}

TEST_F(launching, moves_with_its_worker) {
  launched first = start();
  const pid_t pid = first.pid();
  {
    launched second = std::move(first);
    EXPECT_EQ(ask(second, "pid"), std::to_string(pid));
    EXPECT_EQ(first.pid(), 0);
    EXPECT_FALSE(is_gone(pid));
  }
  EXPECT_TRUE(is_gone(pid));
}

TEST_F(launching, fifty_times_leaves_descriptors_and_mappings_as_they_were) {
  const auto round = [] {
    launched host = start();
    EXPECT_TRUE(host.call("pattern", bytes_of("100000 100000")));
    EXPECT_TRUE(host.call("size", bytes_of(std::string(100'000, 'x'))));
    (void)host.fd();
  };
  round();
  const auto descriptors = descriptors_of(::getpid()).size();
  const auto mappings = mappings_of(::getpid(), "ferry");
  for (int i = 0; i < 50; ++i) round();
  EXPECT_EQ(descriptors_of(::getpid()).size(), descriptors);
  EXPECT_EQ(mappings_of(::getpid(), "ferry"), mappings);
  EXPECT_EQ(mappings, 0u);
}

}  // namespace
}  // namespace ferry
