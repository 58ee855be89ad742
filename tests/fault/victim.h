// The side that must survive: a real client or a real worker, behind one interface, so that every
// attack is tried on both.
// Threads   one at a time.
// Lifetime  ending a victim ends its session and lets go of every body that it holds.
// Errors    a session that ended gives its error: corrupt and the like from a worker, unavailable
//           with the reason in its text from a client.
// Source    tests/fault.
#pragma once
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/client/client.h"
#include "tests/fault/footprint.h"
#include "tests/fault/hostile_peer.h"
#include "worker/worker.h"

namespace ferry {

inline void PrintTo(errc code, std::ostream* out) { *out << name_of(code); }

enum class side { client, worker };
constexpr plays opposite_of(side who) { return who == side::client ? plays::worker : plays::host; }
inline void PrintTo(side who, std::ostream* out) {
  *out << (who == side::client ? "client" : "worker");
}

inline constexpr std::span<const std::byte> no_bytes{};
inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// Small rings, so that a test can fill them.
session_options small_session();

class victim {
 public:
  static std::unique_ptr<victim> make(side who, session_options options = small_session());
  virtual ~victim() = default;

  // The handshake; the error, or nullopt if the session is open.
  virtual std::optional<call_error> meet(unique_fd socket) = 0;
  // Serves what there is or waits for it; the error, once the session is over.
  virtual std::optional<call_error> turn(std::chrono::nanoseconds timeout) = 0;
  // A record that the victim expects and whose body it will keep: an answer to a call that it makes
  // now, or a call.
  virtual raw_record expected(hostile_peer& peer) = 0;
  // Makes the victim lend a body of `size_bytes` to the peer; the record that says so.
  virtual std::optional<raw_record> lend(hostile_peer& peer, std::uint64_t size_bytes) = 0;
  // Sends one record to the peer without waiting for room. The error's code; 0 if it was sent.
  virtual errc send_one() = 0;
  virtual std::uint64_t bodies_lent() const = 0;

  std::vector<body> kept;            // bodies of the peer
  std::size_t begun = 0;             // calls of a client
  std::vector<call_error> failures;  // how they ended, other than well
  std::size_t ended = 0;
};

// Serves until the session is over, at most some seconds; what it ended with.
std::optional<call_error> serve_to_the_end(victim& target);
// The same, and the reason must be in the text.
void expect_end(victim& target, const std::string& reason);
// Serves a few times: the session must go on.
void expect_life(victim& target);

// A session of two honest sides in this process: it works, whatever was done to others before.
void expect_health();

// What every test here ends with: nothing kept, and the process as able as before.
class fault_test : public ::testing::Test {
 protected:
  fault_test();
  void TearDown() override;
  // The rings here are small, and bodies lie in mapped memory: a larger piece of the heap can only
  // come of a size that the other side claimed. More for tests that keep much themselves.
  std::uint64_t most_at_once_ = 1 << 20;

 private:
  footprint before_;
};

// One test per side.
class side_test : public fault_test, public ::testing::WithParamInterface<side> {};
#define FERRY_BOTH_SIDES(suite)                                                      \
  INSTANTIATE_TEST_SUITE_P(of, suite, ::testing::Values(side::client, side::worker), \
                           [](const auto& one) { return ::testing::PrintToString(one.param); })

// A hostile peer and a victim, with the handshake behind them.
struct open_session {
  explicit open_session(side who, session_options options = small_session())
      : target(victim::make(who, options)), peer(opposite_of(who)) {
    const bool sent = peer.send_hello();
    const auto refused = target->meet(peer.victims_end());
    EXPECT_TRUE(sent);
    EXPECT_FALSE(refused) << refused->message();
    EXPECT_TRUE(peer.take_hello());
  }
  std::unique_ptr<victim> target;
  hostile_peer peer;
};

}  // namespace ferry
