#include <sys/syscall.h>
#include <sys/wait.h>

#include <cstdlib>
#include <functional>
#include <string>

#include "tests/support/seccomp.h"
#include "tests/unit/engine/reactor_fixture.h"

namespace ferry {
namespace {

constexpr int filters_denied = 99;  // exit code: this machine lets nobody add a seccomp filter

// Sets FERRY_REACTOR for one test, and puts back what was there.
class reactor_choice : public testing::Test {
 protected:
  reactor_choice() {
    if (const char* value = std::getenv("FERRY_REACTOR")) before_ = value;
    ::unsetenv("FERRY_REACTOR");
  }
  ~reactor_choice() override {
    ::unsetenv("FERRY_REACTOR");
    if (!before_.empty()) ::setenv("FERRY_REACTOR", before_.c_str(), 1);
  }

 private:
  std::string before_;
};

// Watches, notifies and waits once.
bool works(reactor& loop) {
  socket_pair pair;
  std::array<reactor_event, 4> events;
  const std::byte byte{1};
  if (!loop.watch(pair.ours.get(), 7)) return false;
  loop.notify(pair.theirs.get(), {&byte, 1});
  loop.flush();
  const auto count = loop.wait(events, generous);
  return count && *count == 1 && events[0].token == 7 && events[0].readable;
}

// Runs `body` in a child to which the system call is denied; its exit code.
int exit_code_without(int syscall_number, int error_number, const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(deny_syscall(syscall_number, error_number) ? body() : filters_denied);
  }
  int status = -1;
  if (child < 0 || ::waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

TEST_F(reactor_choice, reads_the_three_names_and_no_other) {
  EXPECT_EQ(*parse_reactor_kind("auto"), reactor_kind::automatic);
  EXPECT_EQ(*parse_reactor_kind("io_uring"), reactor_kind::io_uring);
  EXPECT_EQ(*parse_reactor_kind("epoll"), reactor_kind::epoll);
  for (const char* name : {"", "automatic", "EPOLL", "epoll ", "uring"}) {
    EXPECT_EQ(parse_reactor_kind(name).error().code, errc::bad_argument) << name;
  }
}

TEST_F(reactor_choice, prefers_io_uring_and_says_why) {
  auto made = reactor::create();
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_TRUE(works(**made));
  const std::string why = (*made)->why();
  if ((*made)->kind() == reactor_kind::io_uring) {
    EXPECT_EQ(why, "io_uring is available");
  } else {
    EXPECT_EQ(why, "io_uring refused by the kernel or container");
  }
}

TEST_F(reactor_choice, obeys_the_option_over_the_environment) {
  ::setenv("FERRY_REACTOR", "nonsense", 1);
  auto made = reactor::create(reactor_kind::epoll);
  ASSERT_TRUE(made);
  EXPECT_EQ((*made)->kind(), reactor_kind::epoll);
  EXPECT_STREQ((*made)->why(), "chosen by option");
}

TEST_F(reactor_choice, obeys_the_environment_when_the_option_leaves_it_open) {
  ::setenv("FERRY_REACTOR", "epoll", 1);
  auto made = reactor::create();
  ASSERT_TRUE(made);
  EXPECT_EQ((*made)->kind(), reactor_kind::epoll);
  EXPECT_STREQ((*made)->why(), "FERRY_REACTOR");

  for (const char* open : {"auto", ""}) {
    ::setenv("FERRY_REACTOR", open, 1);
    made = reactor::create();
    ASSERT_TRUE(made);
    EXPECT_STRNE((*made)->why(), "chosen by option");
  }
}

TEST_F(reactor_choice, refuses_an_unknown_name_in_the_environment) {
  ::setenv("FERRY_REACTOR", "kqueue", 1);
  const auto made = reactor::create();
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, errc::bad_argument);
  EXPECT_NE(made.error().message().find("FERRY_REACTOR"), std::string::npos);
}

struct denial {
  int syscall_number;
  int error_number;
  errc code;
  const char* names;  // in the error's text
};

constexpr denial denials[] = {
    {SYS_io_uring_setup, EPERM, errc::refused, "io_uring_setup"},
    {SYS_io_uring_setup, ENOSYS, errc::not_supported, "io_uring_setup"},
    {SYS_io_uring_enter, EPERM, errc::refused, "io_uring_enter"},
    {SYS_io_uring_register, EPERM, errc::refused, "io_uring_register"},
};

TEST_F(reactor_choice, says_why_a_forced_io_uring_is_denied) {
  if (!reactor::create(reactor_kind::io_uring)) GTEST_SKIP() << "expected: denied here already";
  for (const auto& each : denials) {
    const int code = exit_code_without(each.syscall_number, each.error_number, [&] {
      const auto made = reactor::create(reactor_kind::io_uring);
      if (made) return 1;
      if (made.error().code != each.code) return 2;
      const std::string text = made.error().message();
      if (text.find(each.names) == std::string::npos) return 3;
      return text.find("seccomp") == std::string::npos ? 4 : 0;
    });
    if (code == filters_denied) GTEST_SKIP() << "expected: no seccomp filters here";
    EXPECT_EQ(code, 0) << each.names << ' ' << each.error_number;
  }
}

TEST_F(reactor_choice, says_so_when_the_environment_forces_what_is_denied) {
  ::setenv("FERRY_REACTOR", "io_uring", 1);
  const int code = exit_code_without(SYS_io_uring_setup, EPERM, [] {
    const auto made = reactor::create();
    return !made && made.error().code == errc::refused && made.error().sys_errno == EPERM ? 0 : 1;
  });
  if (code == filters_denied) GTEST_SKIP() << "expected: no seccomp filters here";
  EXPECT_EQ(code, 0);
}

TEST_F(reactor_choice, does_without_io_uring_when_it_is_denied_later) {
  if (!reactor::create(reactor_kind::io_uring)) GTEST_SKIP() << "expected: denied here already";
  const pid_t child = ::fork();
  if (child == 0) {
    auto made = reactor::create(reactor_kind::io_uring);
    if (!made) ::_exit(1);
    if (!deny_syscall(SYS_io_uring_enter, EPERM)) ::_exit(filters_denied);
    reactor& loop = **made;
    for (int round = 0; round < 100; ++round) {  // more than the ring has room for
      if (!works(loop)) ::_exit(2);
      socket_pair pair;
      std::byte out{3}, in{};
      iovec from{&out, 1}, to{&in, 1};
      struct counted : socket_transfer {
        std::int64_t outcome = -1;
      } sends, receives;
      sends.socket = pair.ours.get();
      receives.socket = pair.theirs.get();
      receives.receives = true;
      sends.message.msg_iov = &from;
      receives.message.msg_iov = &to;
      sends.message.msg_iovlen = receives.message.msg_iovlen = 1;
      sends.completed = receives.completed = [](socket_transfer& self, std::int64_t how) noexcept {
        static_cast<counted&>(self).outcome = how;
      };
      loop.start(sends);
      loop.start(receives);
      loop.flush();
      if (sends.outcome != 1 || receives.outcome != 1 || in != out) ::_exit(3);
    }
    ::_exit(0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == filters_denied) GTEST_SKIP() << "expected: no seccomp filters here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(reactor_choice, falls_back_to_epoll_where_io_uring_is_denied) {
  for (const auto& each : denials) {
    const int code = exit_code_without(each.syscall_number, each.error_number, [] {
      auto made = reactor::create();
      if (!made) return 1;
      if ((*made)->kind() != reactor_kind::epoll) return 2;
      if (std::string((*made)->why()) != "io_uring refused by the kernel or container") return 3;
      return works(**made) ? 0 : 4;
    });
    if (code == filters_denied) GTEST_SKIP() << "expected: no seccomp filters here";
    EXPECT_EQ(code, 0) << each.names << ' ' << each.error_number;
  }
}

TEST_F(reactor_choice, epoll_keeps_its_timeouts_where_the_newer_call_is_denied) {
  for (const int error_number : {ENOSYS, EPERM}) {
    const int code = exit_code_without(SYS_epoll_pwait2, error_number, [] {
      auto made = reactor::create(reactor_kind::epoll);
      if (!made) return 1;
      std::array<reactor_event, 4> events;
      const auto start = steady::now();
      const auto count = (*made)->wait(events, 1'200'000ns);  // rounded up to 2 ms
      if (!count || *count != 0) return 2;
      if (steady::now() - start < 1'200'000ns) return 3;
      return works(**made) ? 0 : 4;
    });
    if (code == filters_denied) GTEST_SKIP() << "expected: no seccomp filters here";
    EXPECT_EQ(code, 0) << error_number;
  }
}

}  // namespace
}  // namespace ferry
