#include "engine/channel/factory/creation.h"

#include <sys/random.h>

#include <exception>
#include <thread>
#include <utility>

namespace ferry {
namespace {

// Whether the same attempt may work a moment later.
bool worth_a_retry(errc code) noexcept {
  switch (code) {
    case errc::unsupported_transport:
    case errc::unsupported_channel:
    case errc::not_supported:
    case errc::invalid_configuration:
    case errc::bad_argument:
    case errc::invalid_request:
    case errc::version_mismatch: return false;
    default: return true;
  }
}

std::uint64_t random_bits() {
  std::uint64_t bits = 0;
  // Cannot fail for 8 bytes once the kernel is up; if it did, the delay would be none.
  if (::getrandom(&bits, sizeof bits, 0) != sizeof bits) bits = 0;
  return bits;
}

class creation {
 public:
  creation(const creation_plan& plan, const transport_registry& transports,
           const creation_world& world, const std::function<bool()>& given_up)
      : plan_(plan), transports_(transports), world_(world), given_up_(given_up) {
    failure_.runtime = plan.instance.type();
  }

  creation_result run() {
    for (const creation_way& way : plan_.ways) {
      failure_.attempted_types.push_back(way.channel);
      for (std::uint32_t retry = 0; retry <= plan_.retry.max_retries; ++retry) {
        if (retry > 0) pause(retry - 1);
        if (given_up_()) return failed(errc::closed);
        creation_attempt attempt;
        attempt.channel = way.channel;
        attempt.number = retry + 1;
        const auto began = world_.now();
        auto made = try_once(way, attempt.address, began);
        if (made && !given_up_()) return std::move(*made);
        if (made) {
          (*made)->close();
          return failed(errc::closed);
        }
        attempt.took = world_.now() - began;
        attempt.cause = std::move(made).error();
        const errc why = attempt.cause.code;
        failure_.attempts.push_back(std::move(attempt));
        if (world_.on_failed_attempt) {
          world_.on_failed_attempt(plan_.instance, failure_.attempts.back());
        }
        if (why == errc::authentication_failed || why == errc::unauthorized) return failed(why);
        if (!worth_a_retry(why)) break;
      }
    }
    return failed(errc::channel_creation_failed);
  }

 private:
  creation_failure failed(errc why) {
    failure_.code = why;
    return std::move(failure_);
  }

  void pause(std::uint32_t retry) const {
    const auto delay =
        backoff_delay(plan_.retry, retry, world_.random ? world_.random() : random_bits());
    if (world_.pause) {
      world_.pause(delay);
    } else {
      std::this_thread::sleep_for(delay);
    }
  }

  // The one place where foreign code runs: what it throws is an attempt that failed.
  channel_result try_once(const creation_way& way, std::string& address,
                          std::chrono::steady_clock::time_point began) const {
    try {
      return connect(way, address, began);
    } catch (const std::exception& thrown) {
      return channel_error(errc::internal,
                           "the connector of " + way.channel + " threw: " + thrown.what());
    } catch (...) {
      return channel_error(errc::internal, "the connector of " + way.channel + " threw");
    }
  }

  channel_result connect(const creation_way& way, std::string& address,
                         std::chrono::steady_clock::time_point began) const {
    const auto transport = transports_.find(way.channel);
    if (!transport) {
      return channel_error(errc::unsupported_transport,
                           "no transport is registered as " + way.channel);
    }
    auto made = way.address(plan_.instance);
    if (!made) return std::move(made).error();
    address = std::move(*made);
    connect_request request{plan_.instance, way.channel, address, plan_.options, plan_.extra};
    request.options.connect_timeout = plan_.connect_timeout;
    if (transport->remote) request.options.heartbeat = plan_.keepalive;
    if (world_.credentials) request.options.token = world_.credentials(plan_.instance);
    auto connected = transport->connect(request);
    if (!connected) return connected;
    if (!*connected) return channel_error(errc::internal, way.channel + " gave no channel");
    if (world_.now() - began > plan_.connect_timeout) {
      (*connected)->close();
      const auto limit = std::chrono::ceil<std::chrono::milliseconds>(plan_.connect_timeout);
      return channel_error(errc::timeout, way.channel + " connected too late",
                           static_cast<std::uint64_t>(limit.count()));
    }
    if (!(*connected)->is_connected()) {
      auto why = (*connected)->failure();
      (*connected)->close();
      if (why && why->code == errc::authentication_failed) return std::move(*why);
      return channel_error(errc::connection_failed,
                           way.channel + " was lost at once" + (why ? ": " + why->message() : ""));
    }
    return connected;
  }

  const creation_plan& plan_;
  const transport_registry& transports_;
  const creation_world& world_;
  const std::function<bool()>& given_up_;
  creation_failure failure_;
};

}  // namespace

std::string creation_failure::causes() const {
  std::string out(name_of(runtime));
  if (!text.empty()) out.append(": ").append(text);
  const char* before = ": ";
  for (std::size_t first = 0; first < attempts.size();) {
    const creation_attempt& attempt = attempts[first];
    const std::string cause = attempt.cause.message();
    // Attempts that failed alike are told in one.
    std::size_t next = first + 1;
    while (next < attempts.size() && attempts[next].channel == attempt.channel &&
           attempts[next].address == attempt.address && attempts[next].cause.message() == cause) {
      ++next;
    }
    out.append(std::exchange(before, "; ")).append(attempt.channel);
    if (!attempt.address.empty()) out.append(" at ").append(attempt.address);
    if (next > first + 1) out.append(", ").append(std::to_string(next - first)).append(" times");
    out.append(": ").append(cause);
    first = next;
  }
  return out;
}

std::string creation_failure::message() const { return call_error{code, causes()}.message(); }

creation_failure::operator channel_error() const { return {code, causes()}; }

creation_result create_channel_by(const creation_plan& plan, const transport_registry& transports,
                                  const creation_world& world,
                                  const std::function<bool()>& given_up) {
  return creation(plan, transports, world, given_up).run();
}

}  // namespace ferry
