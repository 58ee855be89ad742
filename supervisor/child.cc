#include "supervisor/child.h"

#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>

extern char** environ;

namespace ferry {
namespace {

using clock = std::chrono::steady_clock;

std::vector<char*> pointers(std::span<const std::string> texts) {
  std::vector<char*> out;
  for (const std::string& text : texts) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

// Our environment, with `replacing` in place of variables of the same name.
std::vector<std::string> merged_environment(std::span<const std::string> replacing) {
  std::vector<std::string> out(replacing.begin(), replacing.end());
  const auto name_of = [](std::string_view entry) { return entry.substr(0, entry.find('=')); };
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const bool replaced = std::ranges::any_of(
        replacing, [&](const std::string& with) { return name_of(with) == name_of(*entry); });
    if (!replaced) out.emplace_back(*entry);
  }
  return out;
}

}  // namespace

std::string exit_status::message() const {
  if (signal != 0) {
    const char* name = ::sigdescr_np(signal);
    return fmt::format("killed by signal {} ({})", signal, name == nullptr ? "unknown" : name);
  }
  return fmt::format("exit status {}", code);
}

result<child, call_error> child::spawn(std::span<const std::string> command,
                                       const unique_fd& socket,
                                       std::span<const std::string> environment) {
  if (command.empty() || command.front().empty()) {
    return call_error{errc::bad_argument, "no command to start", false};
  }
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  // dup2 onto itself clears close-on-exec in posix_spawn, so 3 may even be the number it has.
  ::posix_spawn_file_actions_adddup2(&actions, socket.get(), socket_number);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, socket_number + 1);
  // A host may block or ignore signals for its own reasons; its workers start with the defaults.
  sigset_t none, defaults;
  ::sigemptyset(&none);
  ::sigemptyset(&defaults);
  for (const int signal : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGUSR1, SIGUSR2}) {
    ::sigaddset(&defaults, signal);
  }
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  const std::vector<std::string> merged = merged_environment(environment);
  pid_t pid = 0;
  const int problem = ::posix_spawnp(&pid, command.front().c_str(), &actions, &attributes,
                                     pointers(command).data(), pointers(merged).data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (problem != 0) {
    return call_error{
        errc::refused,
        fmt::format("cannot start '{}': {}", command.front(), ::strerrordesc_np(problem)), false};
  }
  // The pid is ours until we reap it, so this cannot name another process.
  unique_fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  return child(pid, std::move(pidfd));  // without a pidfd (descriptor table full) wait() polls
}

child::child(child&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)),
      pidfd_(std::move(other.pidfd_)),
      ended_(std::move(other.ended_)),
      grace_(other.grace_) {}

child& child::operator=(child&& other) noexcept {
  if (this != &other) {
    end();
    pid_ = std::exchange(other.pid_, 0);
    pidfd_ = std::move(other.pidfd_);
    ended_ = std::move(other.ended_);
    grace_ = other.grace_;
  }
  return *this;
}

child::~child() { end(); }

void child::end() noexcept {
  if (pid_ == 0 || made_in_.left() || wait(grace_)) return;
  kill(SIGKILL);
  (void)wait(std::chrono::nanoseconds::max());
}

std::optional<exit_status> child::wait(std::chrono::nanoseconds timeout) {
  if (ended_) return ended_;
  if (pid_ == 0) return exit_status{};
  const bool forever = timeout > std::chrono::hours(24 * 365);
  const auto deadline = forever ? clock::time_point::max() : clock::now() + timeout;
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG) != 0) {
      if (errno == EINTR) continue;
      ended_ = exit_status{};  // somebody else of this process reaped it: the status is lost
      return ended_;
    }
    if (info.si_pid == pid_) {
      ended_ = info.si_code == CLD_EXITED ? exit_status{info.si_status, 0}
                                          : exit_status{0, info.si_status};
      return ended_;
    }
    const auto now = clock::now();
    if (now >= deadline) return std::nullopt;
    constexpr auto no_pidfd_pause = std::chrono::milliseconds(5);
    constexpr auto longest = std::chrono::milliseconds(60'000);
    auto left =
        forever ? longest
                : std::min(longest, std::chrono::ceil<std::chrono::milliseconds>(deadline - now));
    if (!pidfd_) left = std::min<std::chrono::milliseconds>(left, no_pidfd_pause);
    pollfd done{pidfd_.get(), POLLIN, 0};
    (void)::poll(&done, pidfd_ ? 1 : 0, static_cast<int>(left.count()));
  }
}

void child::kill(int signal) noexcept {
  if (pid_ != 0 && !ended_) ::kill(pid_, signal);
}

}  // namespace ferry
