// Who may connect, by which path, and what becomes of everybody else.
#include <malloc.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <fstream>

#include "engine/channel/wire.h"
#include "tests/e2e/channel_fixture.h"
#include "tests/e2e/process.h"

namespace ferry {
namespace {

// A listener on a thread of its own, and what it told about those who came.
struct listening {
  private_folder folder;
  loop_thread thread = std::move(*loop_thread::start());
  mailbox<channel_ptr> accepted;
  mailbox<channel_error> refused;
  std::shared_ptr<channel_listener> listener;
  std::string transport;

  explicit listening(std::string over, listener_options options = {}) : transport(std::move(over)) {
    options.channel.loop = thread.loop();
    if (transport == "tls") options.channel.tls = server_tls(folder / "");
    auto opened = channel_listener::open(
        target_of(transport, folder), options,
        [this](channel_ptr made) { accepted.put(std::move(made)); },
        [this](const channel_error& why) { refused.put(why); });
    if (!opened) throw std::runtime_error(opened.error().message());
    listener = *opened;
  }
  ~listening() {
    listener->close();
    while (auto left = accepted.take(0ns)) (*left)->close();
  }
  channel_result connect(channel_options options = {}, std::string_view name = "a") {
    if (transport == "tls") options.tls = client_tls(folder / "");
    return connect_channel({transport, listener->address()}, test_instance(name), options);
  }
  // A peer that speaks for itself.
  unique_fd raw() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, listener->address().data(), listener->address().size());
    const int type = transport == "unix" ? SOCK_STREAM : SOCK_SEQPACKET;
    unique_fd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return socket;
  }
};

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

TEST_P(channel_streams, silent_peer_is_closed_in_time_and_delays_nobody) {
  listener_options options;
  options.handshake_timeout = 200ms;
  listening here(GetParam(), options);
  const unique_fd silent = here.raw();
  EXPECT_TRUE(here.connect());
  EXPECT_EQ(here.refused.take()->code, errc::timeout);
  char byte = 0;
  EXPECT_EQ(::read(silent.get(), &byte, 1), 0);
  EXPECT_EQ(here.listener->get_stats().handshakes, 0u);
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

TEST_P(channel_streams, another_first_frame_or_garbage_is_refused_with_the_reason) {
  listening here(GetParam());
  message early = execution_request("f");
  const frame_fields fields = fields_of(early);
  const frame_header header = header_of(fields);
  std::vector<std::byte> frame(sizeof header + fields.head_size);
  std::memcpy(frame.data(), &header, sizeof header);
  write_head(early, std::span(frame).subspan(sizeof header));
  const unique_fd rude = here.raw();
  ASSERT_EQ(::write(rude.get(), frame.data(), frame.size()), static_cast<ssize_t>(frame.size()));
  EXPECT_EQ(here.refused.take()->code, errc::authentication_failed);
  std::array<std::byte, 1024> answer;
  const ssize_t got = ::read(rude.get(), answer.data(), answer.size());
  ASSERT_GT(got, static_cast<ssize_t>(sizeof header));
  const std::string_view text(reinterpret_cast<const char*>(answer.data()),
                              static_cast<std::size_t>(got));
  EXPECT_NE(text.find("not a hello"), std::string_view::npos);
  EXPECT_EQ(::read(rude.get(), answer.data(), answer.size()), 0);

  const unique_fd noise = here.raw();
  const std::string garbage(4096, '\xa5');
  ASSERT_EQ(::write(noise.get(), garbage.data(), garbage.size()), 4096);
  EXPECT_EQ(here.refused.take()->code, errc::corrupt);
  const auto good = here.connect();
  EXPECT_TRUE(good);
  EXPECT_TRUE(eventually([&] { return here.listener->get_stats().connections == 1; }));
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

TEST_P(channel_streams, thousand_idle_connections_cost_less_than_64_MiB) {
  if (sanitized) GTEST_SKIP() << "expected: sanitizers hoard memory";
  // Meson's MALLOC_PERTURB_ writes all that is allocated, which then counts though nobody uses it.
  ::mallopt(M_PERTURB, 0);
  listener_options options;
  options.max_connections = 1100;
  listening here(GetParam(), options);
  auto shared = loop::create();
  ASSERT_TRUE(shared);
  channel_options near;
  near.loop = *shared;
  const auto before = status_of(::getpid(), "RssAnon");
  std::vector<channel_ptr> ends;
  for (int i = 0; i < 1000; ++i) {
    auto made = here.connect(near);
    ASSERT_TRUE(made) << i << made.error().message();
    ends.push_back(std::move(*made));
  }
  ASSERT_TRUE(eventually([&] { return here.listener->get_stats().accepted == 1000; }));
  EXPECT_LT(status_of(::getpid(), "RssAnon") - before, 64 << 10);  // both ends, in KiB
}

TEST(channel_tls, peer_whose_certificate_is_not_known_is_refused) {
  if (!has_transport("tls") || !reactor::create()) GTEST_SKIP() << "expected: no TLS here";
  listening here("tls");
  channel_options options;
  options.tls.host_name = "localhost";
  const channel_target where{"tls", here.listener->address()};
  auto refused = connect_channel(where, test_instance(), options);  // the system's authorities
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::authentication_failed) << refused.error().text;
  options.tls = client_tls(here.folder / "");
  options.tls.host_name = "elsewhere";
  refused = connect_channel(where, test_instance(), options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::authentication_failed) << refused.error().text;
  options.tls.verify_peer = false;
  EXPECT_TRUE(connect_channel(where, test_instance(), options));
}

}  // namespace
}  // namespace ferry
