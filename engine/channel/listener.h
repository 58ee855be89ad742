// Waits for connections and makes channels of them; a silent or hostile caller delays nobody.
// Threads   any. `accepted` runs on the thread that drives.
// Lifetime  shared; the last reference closes it. Channels that were accepted live on.
// Errors    invalid_configuration: a path that is no socket, a folder that is not ours alone, a
//           path too long.  refused: somebody listens there already.  system, limit: as they say.
// Source    engine/channel/README.md, "Listeners".
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "engine/channel/connect.h"

namespace ferry {

struct listener_options {
  channel_options channel;  // of the channels that it makes; `loop` drives the listener too
  std::uint32_t max_connections = 1000;  // in all, handshakes included
  // At once, at least 1; who comes then waits. At either limit a caller gives way to others who has
  // not said who it is for 100 ms.
  std::uint32_t max_handshakes = 64;
  std::chrono::nanoseconds handshake_timeout = std::chrono::seconds(5);
  // Who may come. Null: any instance, no token asked for.
  std::shared_ptr<token_book> tokens;
  // Further conditions on who it says it is; unset: none. The text is told to the peer, with
  // unauthorized if that is the code, else with authentication_failed: whoever is refused here has
  // no reason to try again or by another way.
  std::function<result<void, channel_error>(const runtime_instance_id&, const channel_peer&)> admit;
};

struct listener_stats {
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;      // handshakes that failed
  std::uint64_t turned_away = 0;  // over a limit; also who gave way
  std::uint32_t connections = 0;
  std::uint32_t handshakes = 0;
};

class channel_listener {
 public:
  using on_accepted = unique_function<void(channel_ptr)>;
  // The reason of a handshake that failed here, or was refused by the caller.
  using on_refused = unique_function<void(const channel_error&)>;

  // `where`: a path, or "host:port", for tcp and tls with port 0 to let the kernel choose.
  static result<std::shared_ptr<channel_listener>, channel_error> open(const channel_target& where,
                                                                       listener_options options,
                                                                       on_accepted accepted,
                                                                       on_refused refused = {});
  virtual ~channel_listener() = default;

  virtual std::string address() const = 0;  // with the real port
  virtual listener_stats get_stats() const = 0;
  virtual void close() = 0;  // idempotent
  virtual ferry::loop& loop() noexcept = 0;

 protected:
  channel_listener() = default;
};

}  // namespace ferry
