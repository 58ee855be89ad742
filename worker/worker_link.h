// One session of a worker: reads its records, runs its functions, sends their answers.
// Threads   as loop_source; answer, owe and forget: any thread.
// Source    worker/README.md, "Calls" and "Answers".
#pragma once
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/holdings.h"
#include "engine/loop/loop_core.h"
#include "engine/session/session.h"
#include "engine/stream/room_desk.h"
#include "worker/call_state.h"
#include "worker/registry.h"

namespace ferry {

class worker_link final : public loop_source, public std::enable_shared_from_this<worker_link> {
 public:
  // Answers and calls of one host that may wait for it to read: then its calls are not read either.
  static constexpr std::size_t max_owed = 1024;
  static constexpr const char* too_many = "too many calls of this host at once";
  static constexpr std::size_t longest_name = 4096;   // of a function: no more is copied
  static constexpr std::size_t poll_batch = 64;       // calls between two looks at anything else
  static constexpr std::size_t max_sent_text = 1024;  // of an error: a longer one says no more
  static constexpr std::uint32_t host_number = 1u << 31;  // bit of a number that the host gave

  static std::shared_ptr<worker_link> make(std::shared_ptr<loop_core> loop,
                                           std::unique_ptr<session> opened, registry& functions);

  session_core& core() noexcept { return *core_; }
  session& input() noexcept { return *session_; }
  loop_core& loop() noexcept { return *loop_; }
  registry& functions() noexcept { return functions_; }
  bool over() const noexcept { return core_->over(); }
  bool finished() const noexcept { return finished_; }  // every call was told; none is kept

  // Publishes an answer now or, if there is no room, when the host has read or given back.
  // `Argument`: std::span<const std::byte> or loan&.
  template <class Argument>
  result<void> answer(const record_fields& fields, Argument&& argument) {
    // Bodies that wait for others to be given back go first.
    if constexpr (std::is_same_v<std::decay_t<Argument>, loan>) {
      if (room_.owes() && core_->owns(argument)) [[unlikely]]
        return owe(fields, argument);
    }
    auto sent = core_->send(fields, argument);
    if (sent || sent.error().code != errc::full) return sent;
    return owe(fields, argument);
  }
  // `begun`: the function has run, or may have.
  result<void> fail(std::uint64_t call, errc code, std::string_view text,
                    std::span<const std::byte> detail, bool begun = true);
  void send_small(const record_fields& fields);
  void when_room(stream_waiter who);
  void forget_room(void* context);
  bool remember(std::shared_ptr<call_state> call);  // false: as many as its host may have
  void forget(call_state& call);
  // A timer that another thread has no more use for; it goes when this one is awake again.
  void bury(std::unique_ptr<call_watch> watch);
  // From inside a plain function on the thread that serves. Calls of such functions that come
  // meanwhile are put off until it is done.
  void listen();  // one turn of the loop
  // Runs the loop until `me` has arrived (true) or the deadline has passed.
  bool wait_inside(follower& me, clock::time_point deadline);
  session_holdings holdings();
  void run_coroutine(const std::shared_ptr<call_state>& call, task<> work);

  // --- loop_source ------------------------------------------------------------------------------
  std::size_t turn() override;
  bool has_input() noexcept override;
  void ready(std::uint8_t, const reactor_event&) override { session_->serve_socket(); }
  void arm() override { session_->arm(); }
  void disarm() noexcept override { session_->disarm(); }
  clock::time_point next_due() noexcept override {
    return armed() ? session_->next_due() : clock::time_point::max();
  }
  std::size_t tick(clock::time_point) override {
    core_->trim(false);
    return 0;
  }
  session* direct() noexcept override { return finished_ || stuck_ ? nullptr : session_.get(); }
  // The session is over or the worker goes: every call is told.
  void finish();
  // After finish(), when no function runs any more: coroutines that still wait are destroyed.
  void drop();

 private:
  worker_link(std::shared_ptr<loop_core> loop, std::unique_ptr<session> opened,
              registry& functions);
  void coroutine_ended(const std::shared_ptr<call_state>& call);
  static void start_waiting(const handler& function);
  struct bound_name {
    std::string name;
    std::shared_ptr<registry::place> function;  // null: not registered when last asked
  };

  result<void> owe(const record_fields& fields, std::span<const std::byte> bytes);
  result<void> owe(const record_fields& fields, loan& filled);
  void take(const record_fields& fields, body&& content);
  void resolve(const record_fields& fields, std::string_view name);
  void bind(const record_fields& fields, std::string_view name);
  void invoke(const record_fields& fields, body&& content);
  std::uint64_t time_left(const record_fields& call) const;
  void invoke_known(const record_fields& fields, const std::shared_ptr<const handler>& called,
                    body&& content);
  static void begin(const std::shared_ptr<call_state>& call, body&& content);
  void put_off(const record_fields& fields, body&& content, std::shared_ptr<call_state> state);
  static void begin_on_lane(const std::shared_ptr<call_state>& call, body&& content);
  static void run(const handler& function, context& call, body&& content);
  void refuse(std::uint64_t call, errc code, std::string_view text);
  void land_in_stream(const record_fields& fields, body&& content);
  std::shared_ptr<call_state> state_of(std::uint64_t call);
  void serve_room() { room_.serve(*session_, *loop_, *this); }
  void serve_room_soon();  // on the thread that serves
  std::size_t run_deferred();
  void clear_buried();

  std::shared_ptr<loop_core> loop_;
  std::unique_ptr<session> session_;
  std::shared_ptr<session_core> core_;
  registry& functions_;
  std::vector<bound_name> bound_;
  std::shared_ptr<worker_link> self_;  // what contexts point at, until drop()
  std::unordered_set<std::shared_ptr<call_state>> coroutines_;  // that have not ended
  bool stuck_ = false;  // the host reads no answers: its calls wait
  bool finished_ = false;

  struct deferred_call {
    record_fields fields;
    body content;
    clock::time_point came;
    std::shared_ptr<call_state> state;  // of a function that streams: items may come already
  };
  std::deque<deferred_call> deferred_;  // came while a function was inside

  room_desk room_;
  std::mutex states_mutex_;
  std::unordered_map<std::uint64_t, std::shared_ptr<call_state>> states_;
  std::shared_ptr<call_state> last_;                 // whose stream the record before belonged to
  std::vector<std::unique_ptr<call_watch>> buried_;  // guarded by states_mutex_
  std::atomic<bool> any_buried_{false};
};

}  // namespace ferry
