// The factory over the real transports: what it does when listeners are there, absent, silent, or
// say no.
#include "engine/channel/factory/factory.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <future>
#include <vector>

#include "engine/channel/factory/monitor.h"
#include "engine/channel/factory/standard_transports.h"
#include "tests/e2e/channel_fixture.h"

namespace ferry {
namespace {

using strings = std::vector<std::string>;

// One instance's listeners, as its process would have them, on a thread of their own.
class far_side {
 public:
  explicit far_side(socket_paths paths)
      : paths_(std::move(paths)), thread_(std::move(*loop_thread::start())) {}
  ~far_side() {
    for (const auto& one : listeners_) one->close();
    drop_all();
  }

  std::shared_ptr<channel_listener> listen(const std::string& transport,
                                           const runtime_instance_id& instance,
                                           listener_options options = {}) {
    options.channel.loop = thread_.loop();
    auto opened = channel_listener::open({transport, address_of(transport, instance)}, options,
                                         [this](channel_ptr made) { accept(std::move(made)); });
    EXPECT_TRUE(opened) << opened.error().message();
    if (transport == "tcp") {
      EXPECT_TRUE(address_board(paths_).publish(instance, "tcp", (*opened)->address()));
    }
    listeners_.push_back(*opened);
    return *opened;
  }
  // Answers every request with what it was sent.
  void accept(channel_ptr made) {
    made->on_message([to = std::weak_ptr(made)](message&& asked) {
      const auto chan = to.lock();
      if (chan && asked.request_id != 0) {
        (void)chan->reply(asked, execution_success(std::move(asked.data)));
      }
    });
    const std::lock_guard lock(mutex_);
    accepted_.push_back(std::move(made));
  }
  void drop_all() {
    std::vector<channel_ptr> gone;
    {
      const std::lock_guard lock(mutex_);
      gone.swap(accepted_);
    }
    for (const auto& one : gone) one->close();
  }
  bool send_to_all(const char* what) {
    const std::lock_guard lock(mutex_);
    for (const auto& one : accepted_) {
      if (!one->send(execution_request(what))) return false;
    }
    return true;
  }
  std::size_t accepted() const {
    const std::lock_guard lock(mutex_);
    return accepted_.size();
  }
  ferry::loop loop() { return thread_.loop(); }

 private:
  std::string address_of(const std::string& transport, const runtime_instance_id& instance) {
    if (transport == "tcp") return "127.0.0.1:0";
    return *paths_.path_for(instance, transport == "shm+unix" ? socket_paths::packet_ending
                                                              : socket_paths::stream_ending);
  }

  socket_paths paths_;
  loop_thread thread_;
  std::vector<std::shared_ptr<channel_listener>> listeners_;
  mutable std::mutex mutex_;
  std::vector<channel_ptr> accepted_;
};

struct factory_e2e : testing::Test {  // fixture: default strategies, sockets in a folder of its own
  private_folder folder;
  socket_paths paths = *socket_paths::open({.runtime_dir = folder / ""});
  std::shared_ptr<memory_endpoints> endpoints = make_memory_endpoints();
  runtime_instance_id job = *runtime_instance_id::parse("ns:process:job-7");
  std::mutex mutex;
  std::vector<creation_attempt> failed;
  std::optional<channel_token> token;
  std::optional<far_side> far{paths};
  std::unique_ptr<channel_factory> factory = make_factory();

  void SetUp() override {
    if (std::getenv("FERRY_TEST_NO_FILTER") != nullptr) {
      GTEST_SKIP() << "expected: no seccomp filter may be added here";
    }
    const auto usable = reactor::create();
    if (!usable) GTEST_SKIP() << "expected: " << usable.error().message();
  }

  std::unique_ptr<channel_factory> make_factory() {
    auto transports = std::make_shared<transport_registry>();
    add_standard_transports(*transports, endpoints);
    factory_options options;
    options.world.on_failed_attempt = [this](const runtime_instance_id&,
                                             const creation_attempt& attempt) {
      const std::lock_guard lock(mutex);
      failed.push_back(attempt);
    };
    options.world.credentials = [this](const runtime_instance_id&) { return token; };
    auto made = std::make_unique<channel_factory>(transports, options);
    for (const auto type : all_runtime_types) {
      auto strategy = *default_strategy(type, paths);
      strategy.retry = {.max_retries = 1, .first_delay = 1ms, .longest_delay = 1ms};
      EXPECT_TRUE(made->register_strategy(strategy));
    }
    return made;
  }

  void expect_works(const creation_result& made, std::string_view type) {
    ASSERT_TRUE(made) << made.error().message();
    EXPECT_EQ((*made)->type(), type);
    const auto answer =
        (*made)->request(execution_request("echo", payload::copy_of("ferry")), generous);
    EXPECT_EQ(text_of(answer), "ferry");
  }
  strings failed_types() {
    const std::lock_guard lock(mutex);
    strings types;
    for (const auto& attempt : failed) types.push_back(attempt.channel);
    return types;
  }
};

// A socket that somebody bound; what becomes of it is the test's.
class raw_socket {
 public:
  raw_socket(const std::string& path, int type) : fd_(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  void listen() { EXPECT_EQ(::listen(fd_.get(), 8), 0); }

 private:
  unique_fd fd_;
};

TEST_F(factory_e2e, takes_the_preferred_channel_when_all_listen) {
  for (const char* const transport : {"tcp", "unix", "shm+unix"}) far->listen(transport, job);
  expect_works(factory->create_channel_for_instance(job), "shm+unix");
  EXPECT_TRUE(failed_types().empty());
}

TEST_F(factory_e2e, takes_the_next_channel_when_nobody_listens_on_the_preferred_one) {
  far->listen("unix", job);
  far->listen("tcp", job);
  expect_works(factory->create_channel_for_instance(job), "unix");
  EXPECT_EQ(failed_types(), (strings{"shm+unix", "shm+unix"}));
  EXPECT_EQ(failed[0].cause.code, errc::connection_failed);
  EXPECT_EQ(failed[0].address, paths.directory().path() + "/ns-process-job~7.shm");
}

TEST_F(factory_e2e, takes_the_next_channel_when_the_preferred_ones_refuse) {
  // What a process leaves behind that was killed: sockets without a listener.
  { raw_socket(*paths.path_for(job, socket_paths::packet_ending), SOCK_SEQPACKET); }
  { raw_socket(*paths.path_for(job, socket_paths::stream_ending), SOCK_STREAM); }
  far->listen("tcp", job);
  expect_works(factory->create_channel_for_instance(job), "tcp");
  EXPECT_EQ(failed_types(), (strings{"shm+unix", "shm+unix", "unix", "unix"}));
}

TEST_F(factory_e2e, takes_the_next_channel_when_the_preferred_listener_is_silent) {
  raw_socket silent(*paths.path_for(job, socket_paths::packet_ending), SOCK_SEQPACKET);
  silent.listen();
  far->listen("unix", job);
  channel_config config;
  config.connect_timeout_ms = 300;
  config.max_retries = 0;
  expect_works(factory->create_channel_for_instance(job, config), "unix");
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_EQ(failed[0].cause.code, errc::timeout);
  EXPECT_GE(failed[0].took, 250ms);
  EXPECT_LT(failed[0].took, 300ms + generous);
}

TEST_F(factory_e2e, takes_the_next_channel_when_the_preferred_listener_speaks_no_ferry) {
  raw_socket stranger(*paths.path_for(job, socket_paths::packet_ending), SOCK_STREAM);
  stranger.listen();  // a socket of another type
  far->listen("unix", job);
  expect_works(factory->create_channel_for_instance(job), "unix");
}

TEST_F(factory_e2e, never_falls_back_from_a_refused_authentication) {
  listener_options strict;
  strict.tokens = std::make_shared<token_book>();
  const auto right = strict.tokens->issue(job);
  ASSERT_TRUE(right);
  far->listen("shm+unix", job, strict);
  const auto weaker = far->listen("unix", job);
  token = *random_token();
  const auto refused = factory->get_or_create_channel(job);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::authentication_failed);
  EXPECT_EQ(refused.error().attempted_types, strings{"shm+unix"});
  ASSERT_EQ(refused.error().attempts.size(), 1u);
  EXPECT_EQ(weaker->get_stats().accepted, 0u);
  EXPECT_FALSE(factory->has_channel(job));

  token = *right;
  expect_works(factory->get_or_create_channel(job), "shm+unix");
}

TEST_F(factory_e2e, never_falls_back_from_a_listener_that_does_not_admit_it) {
  const auto weaker = far->listen("unix", job);
  for (const errc said : {errc::refused, errc::unavailable, errc::authentication_failed,
                          errc::unauthorized, errc::version_mismatch}) {
    SCOPED_TRACE(name_of(said));
    listener_options strict;
    strict.admit = [said](const runtime_instance_id&,
                          const channel_peer&) -> result<void, channel_error> {
      return channel_error(said, "not on the list");
    };
    const auto here = far->listen("shm+unix", job, strict);
    const auto refused = factory->create_channel_for_instance(job);
    here->close();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code,
              said == errc::unauthorized ? errc::unauthorized : errc::authentication_failed);
    ASSERT_EQ(refused.error().attempts.size(), 1u);
    const std::string& text = refused.error().attempts[0].cause.text;
    EXPECT_NE(text.find("not on the list"), std::string::npos) << text;
  }
  EXPECT_EQ(weaker->get_stats().accepted, 0u);
}

TEST_F(factory_e2e, tells_every_cause_when_all_fail) {
  const auto none = factory->create_channel_for_instance(job);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, errc::channel_creation_failed);
  EXPECT_EQ(none.error().attempted_types, (strings{"shm+unix", "unix", "tcp"}));
  EXPECT_EQ(none.error().attempts.size(), 6u);
  const std::string text = none.error().message();
  for (const char* const part : {"process: shm+unix at ", "; unix at ", "published no address"}) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

TEST_F(factory_e2e, reaches_kubernetes_by_tcp_where_grpc_is_not_built_in) {
  const auto pod = *runtime_instance_id::parse("kubernetes:pod");
  far->listen("tcp", pod);
  expect_works(factory->create_channel_for_instance(pod), "tcp");
  EXPECT_EQ(failed_types(), strings{"grpc"});
  EXPECT_EQ(failed[0].cause.code, errc::unsupported_transport);
}

TEST_F(factory_e2e, reaches_wasm_within_the_process) {
  const auto module = *runtime_instance_id::parse("wasm:module");
  EXPECT_EQ(factory->create_channel_for_instance(module).error().attempts.at(0).cause.code,
            errc::connection_failed);
  channel_options options;
  options.loop = far->loop();
  auto listening = endpoints->listen(default_memory_address, options,
                                     [this](channel_ptr made) -> result<void, channel_error> {
                                       far->accept(std::move(made));
                                       return {};
                                     });
  ASSERT_TRUE(listening);
  expect_works(factory->create_channel_for_instance(module), "memory");
}

TEST_F(factory_e2e, finds_a_listener_whose_path_had_to_become_a_hash) {
  const std::string part(64, 'x');
  const auto longest = *runtime_instance_id::parse(part + ":process:" + part);
  far->listen("unix", longest);
  expect_works(factory->create_channel_for_instance(longest), "unix");
}

TEST_F(factory_e2e, shares_one_channel_among_all_who_ask_at_once) {
  const auto listener = far->listen("shm+unix", job);
  std::vector<std::future<creation_result>> asking;
  for (int i = 0; i < 8; ++i) {
    asking.push_back(
        std::async(std::launch::async, [&] { return factory->get_or_create_channel(job); }));
  }
  std::vector<channel_ptr> got;
  for (auto& one : asking) {
    auto made = one.get();
    ASSERT_TRUE(made) << made.error().message();
    got.push_back(std::move(*made));
  }
  for (const auto& one : got) EXPECT_EQ(one, got[0]);
  // The near end may be connected a moment before the listener has counted it.
  EXPECT_TRUE(eventually([&] { return listener->get_stats().accepted == 1; }));
  EXPECT_EQ(listener->get_stats().handshakes, 0u);
}

TEST_F(factory_e2e, replaces_a_channel_whose_peer_has_gone) {
  far->listen("unix", job);
  const auto first = factory->get_or_create_channel(job);
  expect_works(first, "unix");
  far->drop_all();
  // The near end learns of it when somebody drives it.
  EXPECT_TRUE(eventually([&] {
    (void)(*first)->loop().run_once(1ms);
    return !(*first)->is_connected();
  }));
  const auto second = factory->get_or_create_channel(job);
  expect_works(second, "unix");
  EXPECT_NE(*first, *second);
  EXPECT_EQ(factory->stats_of(job)->reconnects, 1u);
}

TEST_F(factory_e2e, notices_that_a_peer_has_gone_though_nobody_drives) {
  channel_options on_far;
  on_far.loop = far->loop();
  auto within = endpoints->listen(default_memory_address, on_far,
                                  [this](channel_ptr made) -> result<void, channel_error> {
                                    far->accept(std::move(made));
                                    return {};
                                  });
  ASSERT_TRUE(within);
  for (const std::string transport : {"shm+unix", "unix", "tcp", "memory"}) {
    SCOPED_TRACE(transport);
    auto peer = *runtime_instance_id::make(runtime_type::process, "by-" + transport.substr(0, 3));
    if (transport == "memory") peer = *runtime_instance_id::parse("wasm:module");
    if (transport != "memory") far->listen(transport, peer);
    const auto first = factory->get_or_create_channel(peer);
    expect_works(first, transport);
    ASSERT_TRUE(eventually([&] { return far->accepted() == 1; }));
    EXPECT_TRUE(factory->has_channel(peer));
    EXPECT_EQ(*factory->get_or_create_channel(peer), *first);
    ASSERT_TRUE(far->send_to_all("last words"));
    far->drop_all();
    // A byte on its way over TCP may take a moment.
    EXPECT_TRUE(eventually([&] { return !factory->has_channel(peer); }));
    EXPECT_TRUE(factory->active_instances().empty());
    EXPECT_TRUE((*first)->is_connected());  // nobody drove it: that was no help
    const auto second = factory->get_or_create_channel(peer);
    EXPECT_NE(*first, *second);
    expect_works(second, transport);
    EXPECT_EQ(factory->stats_of(peer)->reconnects, 1u);
    EXPECT_EQ((*first)->receive(generous)->function, "last words");
    EXPECT_EQ(code_of((*first)->receive(generous)), errc::closed);
    EXPECT_TRUE(factory->close_channel(peer));
    far->drop_all();
  }
}

TEST_F(factory_e2e, is_monitored_with_the_figures_of_the_channel) {
  far->listen("shm+unix", job);
  monitor_time now{1h};
  channel_monitor monitor(now);
  const auto made = factory->get_or_create_channel(job);
  ASSERT_TRUE(made);
  ASSERT_TRUE(monitor.watch(*made, now));
  for (int i = 0; i < 10; ++i) expect_works(made, "shm+unix");
  const auto report = monitor.collect(now += 2s);
  const auto stats = (*made)->get_stats();
  const auto connection = monitor.connections().at(0);
  EXPECT_EQ(connection.messages_sent, 10u);
  EXPECT_EQ(connection.messages_received, 10u);
  EXPECT_EQ(connection.bytes_sent, stats.bytes_sent);
  EXPECT_EQ(connection.bytes_received, stats.bytes_received);
  EXPECT_GT(connection.avg_response_time_ms, 0);
  EXPECT_EQ(report.totals.messages, 20u);
  EXPECT_DOUBLE_EQ(report.rates.messages_per_second, 10);
  EXPECT_GT(report.memory_bytes, 100'000u);
  factory->close_all();
  EXPECT_EQ(monitor.collect(now += 2s).active_connections, 0u);
  EXPECT_EQ(monitor.finished().size(), 1u);
}

}  // namespace
}  // namespace ferry
