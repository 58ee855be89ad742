// How the instances of one runtime type are reached: which channels, in which order, at which
// addresses, and how patiently.
//
//   auto strategy = strategy_builder()
//                       .runtime(runtime_type::process)
//                       .preferred("shm+unix", address_of_sockets)
//                       .fallback("tcp", "127.0.0.1:4711")
//                       .retries({.max_retries = 1})
//                       .build();
//
// Threads   plain values. An address maker is called by any thread that creates a channel, by
//           several at once, so what it holds must stand that.
// Errors    build, check_strategy: invalid_configuration: no runtime type, no preferred channel, a
//           channel without an address, twice the same channel, or a number out of bounds.
// Source    engine/channel/factory/README.md, "Strategies".
#pragma once
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/channel/channel_error.h"
#include "engine/channel/factory/address_board.h"
#include "engine/channel/factory/retry_policy.h"
#include "engine/channel/factory/socket_paths.h"

namespace ferry {

// Gives the address of an instance on one transport. Called for every attempt, so that a listener
// that comes up meanwhile is found.
using address_result = result<std::string, channel_error>;
using address_maker = std::function<address_result(const runtime_instance_id&)>;

struct channel_strategy {
  static constexpr std::size_t max_channels = 8;
  static constexpr std::chrono::nanoseconds longest_connect_timeout = std::chrono::hours(24);

  runtime_type runtime = runtime_type::process;
  std::string preferred;
  std::vector<std::string> fallbacks;              // in this order
  std::map<std::string, address_maker> addresses;  // one for each channel above
  retry_policy retry;
  std::chrono::nanoseconds connect_timeout = std::chrono::seconds(5);  // connect and handshake

  std::vector<std::string> channels() const;  // preferred, then fallbacks
  bool names(const std::string& channel) const;
};

result<void, channel_error> check_strategy(const channel_strategy& strategy);

class strategy_builder {
 public:
  strategy_builder& runtime(runtime_type type);
  strategy_builder& preferred(std::string channel, address_maker address);
  strategy_builder& preferred(std::string channel, std::string address);  // of every instance
  strategy_builder& fallback(std::string channel, address_maker address);
  strategy_builder& fallback(std::string channel, std::string address);
  strategy_builder& retries(retry_policy policy);
  strategy_builder& connect_timeout(std::chrono::nanoseconds timeout);

  result<channel_strategy, channel_error> build() const;

 private:
  std::optional<runtime_type> runtime_;
  channel_strategy strategy_;
  bool twice_ = false;  // a channel was named twice
};

// process: shm+unix, unix, tcp.  kubernetes: grpc, tcp.  wasm: memory. Sockets lie in `paths`, the
// address of a tcp listener is what it published there; grpc and memory have SPEAR's addresses.
// unsupported_runtime: no strategy is known for this type.
inline constexpr const char* default_grpc_address = "http://127.0.0.1:50051";
inline constexpr const char* default_memory_address = "in-process";
result<channel_strategy, channel_error> default_strategy(runtime_type type,
                                                         const socket_paths& paths);

}  // namespace ferry
