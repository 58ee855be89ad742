// Who may connect, by which path, and what becomes of everybody else.
#include <malloc.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <fstream>
#include <future>

#include "engine/channel/wire.h"
#include "tests/e2e/channel_listening.h"
#include "tests/e2e/process.h"

namespace ferry {
namespace {

class channel_door : public over_each_transport {};
INSTANTIATE_TEST_SUITE_P(each, channel_door, connecting_transports(), transport_name);
struct channel_paths : channel_door {};
INSTANTIATE_TEST_SUITE_P(each, channel_paths, testing::Values<std::string>("unix", "shm+unix"),
                         transport_name);
struct channel_streams : channel_door {};
INSTANTIATE_TEST_SUITE_P(each, channel_streams, testing::Values<std::string>("unix"),
                         transport_name);

TEST_P(channel_door, opens_for_the_right_token_once) {
  listener_options options;
  options.tokens = std::make_shared<token_book>();
  listening here(GetParam(), options);
  const auto token = options.tokens->issue(test_instance("a"));
  ASSERT_TRUE(token);
  channel_options with, without, wrong;
  with.token = *token;
  wrong.token = *token;
  (*wrong.token)[15] ^= std::byte{1};

  auto refused = here.connect(without);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::authentication_failed);
  EXPECT_NE(refused.error().text.find("no token"), std::string::npos) << refused.error().text;
  EXPECT_NE(here.refused.take()->text.find("no token"), std::string::npos);

  refused = here.connect(wrong);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::authentication_failed);
  EXPECT_NE(here.refused.take()->text.find("wrong token"), std::string::npos);

  refused = here.connect(with, "b");  // bound to its instance
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::authentication_failed);
  EXPECT_TRUE(here.refused.take());

  auto good = here.connect(with);
  ASSERT_TRUE(good) << good.error().message();
  auto accepted = here.accepted.take();
  ASSERT_TRUE(accepted);
  EXPECT_EQ((*accepted)->instance_id(), test_instance("a"));

  refused = here.connect(with);  // replayed
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::authentication_failed);
  EXPECT_NE(here.refused.take()->text.find("used already"), std::string::npos);
  EXPECT_TRUE((*good)->is_connected());
  EXPECT_EQ(here.listener->get_stats().accepted, 1u);
  EXPECT_EQ(here.listener->get_stats().refused, 4u);
  (*accepted)->close();
}

TEST_P(channel_streams, listener_that_closes_during_handshakes_ends_them) {
  listening here(GetParam());
  std::vector<unique_fd> silent;
  for (int i = 0; i < 8; ++i) silent.push_back(here.raw());
  ASSERT_TRUE(eventually([&] { return here.listener->get_stats().handshakes == 8; }));
  here.listener->close();
  EXPECT_EQ(here.listener->get_stats().handshakes, 0u);
  for (const unique_fd& each : silent) {
    char byte = 0;
    EXPECT_EQ(::read(each.get(), &byte, 1), 0);
  }
  EXPECT_FALSE(here.accepted.take(0ns));
}

TEST_P(channel_door, further_conditions_are_told_to_whoever_fails_them) {
  listener_options options;
  options.admit = [](const runtime_instance_id& who,
                     const channel_peer&) -> result<void, channel_error> {
    if (who.instance() == "a") return {};
    return channel_error(errc::authentication_failed, "not on the list");
  };
  listening here(GetParam(), options);
  auto refused = here.connect({}, "b");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::authentication_failed);
  EXPECT_NE(refused.error().text.find("not on the list"), std::string::npos);
  EXPECT_TRUE(here.connect());
}

TEST_P(channel_door, more_connections_than_allowed_are_turned_away_with_a_word) {
  listener_options options;
  options.max_connections = 2;
  listening here(GetParam(), options);
  auto one = here.connect(), two = here.connect();
  ASSERT_TRUE(one);
  ASSERT_TRUE(two);
  auto three = here.connect();
  ASSERT_FALSE(three);
  if (GetParam() != "tls") {
    EXPECT_NE(three.error().text.find("too many"), std::string::npos) << three.error().text;
  }
  (*one)->close();
  ASSERT_TRUE(eventually([&] { return here.listener->get_stats().connections == 1; }));
  EXPECT_TRUE(here.connect());
}

TEST_P(channel_paths, socket_is_private_and_goes_with_its_listener) {
  std::string path;
  {
    listening here(GetParam());
    path = here.listener->address();
    struct stat info {};
    ASSERT_EQ(::lstat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
    auto again = channel_listener::open({GetParam(), path}, {}, [](channel_ptr) {});
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, errc::refused);
    EXPECT_TRUE(here.connect());
    here.listener->close();
    EXPECT_NE(::lstat(path.c_str(), &info), 0);
    here.listener->close();
  }
}

TEST_P(channel_paths, stale_socket_is_replaced_and_nothing_else_is) {
  private_folder folder;
  const std::string path = folder / "s";
  {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    const unique_fd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  EXPECT_TRUE(channel_listener::open({GetParam(), path}, {}, [](channel_ptr) {}));
  std::ofstream(path) << "precious";
  auto refused = channel_listener::open({GetParam(), path}, {}, [](channel_ptr) {});
  EXPECT_EQ(code_of(refused), errc::invalid_configuration);
  EXPECT_TRUE(std::filesystem::exists(path));

  ::chmod((folder / "").c_str(), 0755);
  refused = channel_listener::open({GetParam(), folder / "t"}, {}, [](channel_ptr) {});
  EXPECT_EQ(code_of(refused), errc::invalid_configuration);
  ::chmod((folder / "").c_str(), 0700);
  refused =
      channel_listener::open({GetParam(), folder / std::string(200, 'x')}, {}, [](channel_ptr) {});
  EXPECT_EQ(code_of(refused), errc::invalid_configuration);
  EXPECT_EQ(code_of(connect_channel({GetParam(), folder / "nobody"}, test_instance())),
            errc::connection_failed);
}

TEST_P(channel_paths, listener_that_was_replaced_leaves_the_new_file_alone) {
  listening first(GetParam());
  const std::string path = first.listener->address();
  ASSERT_EQ(::unlink(path.c_str()), 0);
  auto second = channel_listener::open({GetParam(), path}, {}, [](channel_ptr) {});
  ASSERT_TRUE(second);
  first.listener->close();
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST_P(channel_door, addresses_that_make_no_sense_are_refused) {
  EXPECT_EQ(code_of(connect_channel({"pigeon", "x"}, test_instance())), errc::unsupported_channel);
  for (const char* address : {"localhost", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:12x"}) {
    EXPECT_EQ(code_of(connect_channel({"tcp", address}, test_instance())),
              errc::invalid_configuration)
        << address;
  }
}

// A socket that was inherited is one instance's: no hello on it makes another of it.
struct channel_inherited : channel_door {};
INSTANTIATE_TEST_SUITE_P(each, channel_inherited, testing::Values<std::string>("unix", "shm+unix"),
                         transport_name);

TEST_P(channel_inherited, admits_no_other_instance_than_its_own) {
  const int type = GetParam() == "unix" ? SOCK_STREAM : SOCK_SEQPACKET;
  const auto other_namespace = *runtime_instance_id::make(runtime_type::process, "a", "other");
  for (const auto& claimed : {test_instance("b"), other_namespace, test_instance("a")}) {
    SCOPED_TRACE(claimed.full_id());
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()), 0);
    unique_fd near(ends[0]), far(ends[1]);
    auto waiting = std::async(std::launch::async, [&] {
      return adopt_channel(std::move(far), true, test_instance("a"));
    });
    const auto connected = adopt_channel(std::move(near), false, claimed);
    const auto accepted = waiting.get();
    if (claimed == test_instance("a")) {
      ASSERT_TRUE(connected) << connected.error().message();
      ASSERT_TRUE(accepted) << accepted.error().message();
      EXPECT_EQ((*accepted)->instance_id(), claimed);
      continue;
    }
    for (const auto* const each : {&connected, &accepted}) {
      ASSERT_FALSE(*each);
      EXPECT_EQ(each->error().code, errc::authentication_failed);
      EXPECT_NE(each->error().text.find("another instance"), std::string::npos);
    }
  }
}

struct channel_idle : channel_door {};
INSTANTIATE_TEST_SUITE_P(each, channel_idle, testing::Values<std::string>("unix", "tcp"),
                         transport_name);

TEST_P(channel_idle, thousand_connections_cost_less_than_64_MiB) {
  if (sanitized) GTEST_SKIP() << "expected: sanitizers hoard memory";
  // Meson's MALLOC_PERTURB_ writes all that is allocated, which then counts though nobody uses it.
  ::mallopt(M_PERTURB, 0);
  const std::size_t count = GetParam() == "unix" ? 1000 : 200;  // ports are not ours alone
  listener_options options;
  options.max_connections = 1100;
  listening here(GetParam(), options);
  auto shared = loop::create();
  ASSERT_TRUE(shared);
  channel_options near;
  near.loop = *shared;
  { (void)here.connect(near); }  // what the first takes for all
  ASSERT_TRUE(here.accepted.take());
  const auto before = status_of(::getpid(), "RssAnon");
  std::vector<channel_ptr> ends;
  for (std::size_t i = 0; i < count; ++i) {
    auto made = here.connect(near);
    ASSERT_TRUE(made) << i << made.error().message();
    ends.push_back(std::move(*made));
  }
  ASSERT_TRUE(eventually([&] { return here.listener->get_stats().accepted == count + 1; }));
  const auto most = static_cast<std::int64_t>((64 << 10) * count / 1000);
  EXPECT_LT(status_of(::getpid(), "RssAnon") - before, most);  // both ends, in KiB
  // They are idle, not forgotten: the first and the last still carry what is sent.
  for (const channel_ptr& each : {ends.front(), ends.back()}) EXPECT_TRUE(each->send(ack()));
  for (std::size_t i = 0; i < count; ++i) {
    const auto far = here.accepted.take();
    ASSERT_TRUE(far);
    if (i == 0 || i == count - 1) {
      EXPECT_TRUE((*far)->receive(generous));
    }
  }
}

}  // namespace
}  // namespace ferry
