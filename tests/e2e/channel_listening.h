// A listener on a thread of its own, those it let in, and those it did not.
#pragma once
#include "tests/e2e/channel_fixture.h"
#include "tests/e2e/raw_dial.h"

namespace ferry {

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
  unique_fd raw() const { return raw_dial(transport, listener->address()); }
};

}  // namespace ferry
