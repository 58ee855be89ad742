// Channels to one of several addresses: by a name that stands for many, or by a list.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>

#include "tests/e2e/channel_fixture.h"

namespace ferry {
namespace {

// No host can have this name, so nobody is asked for it: a part of it is too long.
const std::string nowhere = std::string(64, 'x') + ":1";

// A port at which nobody answers: every connect() is refused, or none ever ends.
class dead_end {
 public:
  enum class how { refuses, silent };
  explicit dead_end(how kind) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in here{};
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof here;
    auto* const address = reinterpret_cast<sockaddr*>(&here);
    EXPECT_EQ(::bind(socket_.get(), address, size), 0);
    EXPECT_EQ(::getsockname(socket_.get(), address, &size), 0);
    port_ = ntohs(here.sin_port);
    if (kind == how::refuses) return;
    // Once its queue is full the kernel drops whatever else knocks.
    EXPECT_EQ(::listen(socket_.get(), 0), 0);
    for (unique_fd& each : fill_) {
      each = unique_fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      (void)::connect(each.get(), address, size);
    }
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  unique_fd socket_;
  std::array<unique_fd, 4> fill_;
  int port_ = 0;
};

struct channel_addresses : over_each_transport {
  channel_options options(const channel_ends& ends) const {
    channel_options made;
    if (GetParam() == "tls") made.tls = client_tls(ends.folder / "");
    return made;
  }
};
INSTANTIATE_TEST_SUITE_P(each, channel_addresses, testing::Values<std::string>("tcp", "tls"),
                         transport_name);

TEST_P(channel_addresses, that_refuse_give_way_to_the_next) {
  channel_ends ends(GetParam());
  const dead_end first(dead_end::how::refuses), second(dead_end::how::refuses);
  const auto many =
      nowhere + "," + first.address() + "," + second.address() + "," + ends.listener->address();
  const auto made = connect_channel({GetParam(), many}, test_instance(), options(ends));
  ASSERT_TRUE(made) << made.error().message();
  const auto far = ends.came.take();
  ASSERT_TRUE(far);
  EXPECT_EQ((*made)->peer().address, ends.listener->address());
  ASSERT_TRUE((*made)->send(ack()));
  EXPECT_TRUE((*far)->receive(generous));
  (*made)->close();
}

TEST_P(channel_addresses, that_say_nothing_give_way_after_their_share_of_the_time) {
  channel_ends ends(GetParam());
  const dead_end silent(dead_end::how::silent);
  const auto many = silent.address() + "," + ends.listener->address();
  channel_options half = options(ends);
  half.connect_timeout = 3s;
  auto made = connect_channel({GetParam(), many}, test_instance(), half);
  ASSERT_TRUE(made) << made.error().message();
  (*made)->close();

  auto driven = loop::create();  // the same without waiting
  ASSERT_TRUE(driven);
  half.loop = *driven;
  std::optional<channel_result> outcome;
  ASSERT_TRUE(connect_channel_async({GetParam(), many}, test_instance(), half,
                                    [&](channel_result&& how) { outcome = std::move(how); }));
  while (!outcome) ASSERT_TRUE(driven->run_once(generous));
  ASSERT_TRUE(*outcome) << outcome->error().message();
  (**outcome)->close();
}

TEST_P(channel_addresses, that_all_fail_are_all_told) {
  channel_ends ends(GetParam());
  const dead_end first(dead_end::how::refuses), second(dead_end::how::refuses);
  channel_options near = options(ends);
  auto made =
      connect_channel({GetParam(), nowhere + "," + first.address() + "," + second.address()},
                      test_instance(), near);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, errc::connection_failed);
  EXPECT_NE(made.error().text.find(nowhere), std::string::npos) << made.error().text;
  for (const dead_end* each : {&first, &second}) {
    EXPECT_NE(made.error().text.find(each->address()), std::string::npos) << made.error().text;
  }
  const dead_end silent(dead_end::how::silent), also(dead_end::how::silent);
  near.connect_timeout = 400ms;
  const auto many = first.address() + "," + silent.address() + "," + also.address();
  made = connect_channel({GetParam(), many}, test_instance(), near);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, errc::timeout);
  EXPECT_EQ(made.error().timeout_ms, 400u);
  for (const dead_end* each : {&first, &silent, &also}) {
    EXPECT_NE(made.error().text.find(each->address()), std::string::npos) << made.error().text;
  }
}

TEST_P(channel_addresses, come_from_a_name_also_before_anything_connects) {
  channel_ends ends(GetParam());
  const std::string port = ends.listener->address().substr(ends.listener->address().rfind(':'));
  channel_options near = options(ends);
  // It may stand for ::1 too, where nobody listens.
  auto made = connect_channel({GetParam(), "localhost" + port}, test_instance(), near);
  ASSERT_TRUE(made) << made.error().message();
  (*made)->close();

  const auto numbers = resolve_hosts("localhost" + port);
  ASSERT_TRUE(numbers) << numbers.error().message();
  EXPECT_NE(numbers->find("127.0.0.1" + port), std::string::npos) << *numbers;
  near.tls.host_name = "localhost";
  made = connect_channel({GetParam(), *numbers}, test_instance(), near);
  ASSERT_TRUE(made) << made.error().message();
  (*made)->close();

  const std::string twice = "127.0.0.1:1,127.0.0.1:2,127.0.0.1:1";
  EXPECT_EQ(*resolve_hosts(twice), "127.0.0.1:1,127.0.0.1:2");
  EXPECT_EQ(*resolve_hosts("[::1]:80"), "[::1]:80");
  EXPECT_EQ(*resolve_hosts(nowhere + ",127.0.0.1:1"), "127.0.0.1:1");
  EXPECT_EQ(code_of(resolve_hosts("127.0.0.1:1,")), errc::invalid_configuration);
  EXPECT_EQ(code_of(resolve_hosts(nowhere)), errc::connection_failed);
}

}  // namespace
}  // namespace ferry
