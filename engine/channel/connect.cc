#include "engine/channel/connect.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "engine/channel/addresses.h"
#include "engine/channel/channel_impl.h"
#include "engine/channel/make_link.h"
#include "engine/channel/memory_link.h"

namespace ferry {
namespace {

using impl_ptr = std::shared_ptr<channel_impl>;

// Why a handshake failed, in the words of one who connects.
channel_error as_connector(channel_error why) {
  if (why.code == errc::unavailable || why.code == errc::closed) {
    why.code = errc::connection_failed;
  }
  return why;
}

result<ferry::loop, channel_error> loop_for(const channel_options& options) {
  if (options.loop) {
    if (options.loop->core()->forked()) return channel_error(loop_core::not_ours());
    return *options.loop;
  }
  auto own = ferry::loop::create({options.session.reactor, {}});
  if (!own) return channel_error(own.error());
  return *own;
}

result<impl_ptr, channel_error> make(channel_impl::role how, const runtime_instance_id& instance,
                                     channel_options options) {
  auto loop = loop_for(options);
  if (!loop) return loop.error();
  return std::make_shared<channel_impl>(how, instance, std::move(options), std::move(*loop));
}

void start(const impl_ptr& made, std::unique_ptr<channel_link> link, on_channel done) {
  if (!done) return made->begin(std::move(link), {}, {});
  made->begin(std::move(link), {},
              [made, tell = std::move(done)](result<void, channel_error>&& how) mutable {
                auto whole = std::move(made);
                auto say = std::move(tell);
                if (!how) return say(as_connector(how.error()));
                say(channel_result(std::move(whole)));
              });
}

channel_result finish(impl_ptr made, std::unique_ptr<channel_link> link) {
  if (made->loop().core()->mine()) {
    return channel_error(errc::invalid_request, "a callback cannot wait for a connection");
  }
  start(made, std::move(link), {});
  if (auto open = made->wait_open(); !open) return as_connector(open.error());
  return channel_ptr(std::move(made));
}

result<impl_ptr, channel_error> adopter(unique_fd& socket, bool accepts,
                                        const runtime_instance_id& instance,
                                        channel_options options,
                                        std::unique_ptr<channel_link>& link) {
  int type = 0, family = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
      ::getsockopt(socket.get(), SOL_SOCKET, SO_DOMAIN, &family, &size) != 0) {
    return channel_error(error{errc::invalid_configuration, errno, "not a socket"});
  }
  const int flags = ::fcntl(socket.get(), F_GETFL);
  (void)::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK);
  (void)::fcntl(socket.get(), F_SETFD, FD_CLOEXEC);
  tune_socket(socket.get(), options.liveness_limit);
  auto made = make(accepts ? channel_impl::role::accepts : channel_impl::role::connects, instance,
                   std::move(options));
  if (!made) return made;
  const char* const transport = type == SOCK_SEQPACKET ? "shm+unix"
                                : family == AF_UNIX    ? "unix"
                                                       : "tcp";
  auto linked = make_link(transport, std::move(socket), accepts, nullptr, "", (*made)->options(),
                          (*made)->loop().core());
  if (!linked) return linked.error();
  link = std::move(*linked);
  return made;
}

}  // namespace

channel_result connect_channel(const channel_target& where, const runtime_instance_id& instance,
                               channel_options options) {
  auto made = make(channel_impl::role::connects, instance, std::move(options));
  if (!made) return made.error();
  auto link = connect_link(where, (*made)->options(), (*made)->loop().core(), (*made)->open_by());
  if (!link) return link.error();
  return finish(std::move(*made), std::move(*link));
}

result<void, channel_error> connect_channel_async(const channel_target& where,
                                                  const runtime_instance_id& instance,
                                                  channel_options options, on_channel done) {
  auto made = make(channel_impl::role::connects, instance, std::move(options));
  if (!made) return made.error();
  auto link = connect_link(where, (*made)->options(), (*made)->loop().core(), (*made)->open_by());
  if (!link) return link.error();
  start(*made, std::move(*link), std::move(done));
  return {};
}

result<std::string, channel_error> resolve_hosts(const std::string& hosts) {
  const auto found = find_addresses(hosts);
  if (!found) return found.error();
  std::string all;
  for (const host_address& each : found->all) all += (all.empty() ? "" : ",") + each.text;
  return all;
}

channel_result adopt_channel(unique_fd socket, bool accepts, const runtime_instance_id& instance,
                             channel_options options) {
  std::unique_ptr<channel_link> link;
  auto made = adopter(socket, accepts, instance, std::move(options), link);
  if (!made) return made.error();
  return finish(std::move(*made), std::move(link));
}

result<void, channel_error> adopt_channel_async(unique_fd socket, bool accepts,
                                                const runtime_instance_id& instance,
                                                channel_options options, on_channel done) {
  std::unique_ptr<channel_link> link;
  auto made = adopter(socket, accepts, instance, std::move(options), link);
  if (!made) return made.error();
  start(*made, std::move(link), std::move(done));
  return {};
}

result<std::pair<channel_ptr, channel_ptr>, channel_error> memory_channel_pair(
    const runtime_instance_id& instance, const channel_options& first,
    const channel_options& second) {
  auto one = make(channel_impl::role::paired, instance, first);
  if (!one) return one.error();
  auto other = make(channel_impl::role::paired, instance, second);
  if (!other) return other.error();
  auto pipe = std::make_shared<memory_pipe>(std::min(first.outbox_bytes, second.outbox_bytes));
  (*one)->begin(std::make_unique<memory_link>(pipe, 0), {}, {});
  (*other)->begin(std::make_unique<memory_link>(pipe, 1), {}, {});
  return std::pair<channel_ptr, channel_ptr>(std::move(*one), std::move(*other));
}

}  // namespace ferry
