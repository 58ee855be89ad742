#include "worker/worker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "worker/worker_session.h"

namespace ferry {
namespace {

constexpr std::size_t poll_batch = 64;      // calls served between two looks at anything else
constexpr std::size_t longest_name = 4096;  // of a function that a host asks for: no more is copied

// The socket that the parent left for us, checked to be one.
result<unique_fd, call_error> inherited_socket() {
  const char* text = std::getenv(socket_variable);
  if (text == nullptr) {
    return call_error{
        errc::not_supported,
        fmt::format("{} is not set: this program is a Ferry worker, to be started by a "
                    "host or a supervisor",
                    socket_variable),
        false};
  }
  int fd = -1;
  const auto [end, problem] = std::from_chars(text, text + std::strlen(text), fd);
  int type = 0;
  socklen_t size = sizeof type;
  if (problem != std::errc() || *end != '\0' || fd < 0 ||
      ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_SEQPACKET) {
    return call_error{errc::bad_argument,
                      fmt::format("{}={} does not name a packet socket that the parent opened",
                                  socket_variable, text),
                      false};
  }
  // Neither our own children nor a second run() may find it.
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  ::unsetenv(socket_variable);
  return unique_fd(fd);
}

}  // namespace

class worker::impl {
 public:
  explicit impl(session_options options) : options_(std::move(options)) {}

  void add(std::string name, raw_function function) {
    FERRY_CHECK(!name.empty() && function);
    const auto number = static_cast<std::uint32_t>(functions_.size());
    const bool is_new = numbers_.try_emplace(name, number).second;
    FERRY_CHECK(is_new);
    functions_.push_back({std::move(name), std::move(function)});
  }

  result<void, call_error> open(unique_fd socket) {
    auto own = loop_core::create(options_.reactor);
    if (!own) return call_error{own.error().code, own.error().message(), false};
    loop_ = std::move(*own);
    auto opened = session::open(std::move(socket), session_role::worker, options_, loop_);
    if (!opened) return std::move(opened).error();
    session_ = std::make_shared<worker_session>(std::move(*opened));
    session_->serve_ = [this] { return serve(); };
    loop_->add(*session_);
    const wheel_guard wheel(*loop_);
    (void)loop_->watch(*session_, session_->core().socket(), 0);
    return {};
  }
  ~impl() {
    if (!session_) return;
    const wheel_guard wheel(*loop_);
    loop_->unwatch(session_->core().socket());
    loop_->remove(*session_);
  }

  // Serves what is there, or waits for the first of it.
  result<std::size_t, call_error> run_once(std::chrono::nanoseconds timeout) {
    if (!session_) return call_error{errc::invalid_request, "open a session first", false};
    session_->serve_here();
    auto ran = loop_->run_once(timeout);
    session_->end_serving();
    if (session_->core().over()) session_->core().reclaim();
    if (!ran) return call_error{ran.error().code, ran.error().message(), false};
    if (*ran == 0 && session_->core().over()) return session_->core().failure();
    return *ran;
  }

  result<void, call_error> run() {
    session_->serve_here();
    session& input = session_->input();
    input.set_movable(true);  // this thread does nothing else
    loop_->take();
    while (!session_->core().over()) {
      if (loop_->turn() == 0) (void)loop_->wait(std::chrono::steady_clock::time_point::max());
    }
    loop_->leave();
    session_->end_serving();
    session_->core().reclaim();
    const call_error why = session_->core().failure();
    if (why.code == errc::closed) return {};
    return why;
  }

  int fd() {
    FERRY_CHECK(session_ != nullptr);
    return loop_->fd();
  }

  std::shared_ptr<loop_core> loop_;
  std::shared_ptr<worker_session> session_;

 private:
  struct entry {
    std::string name;
    raw_function function;
  };

  std::size_t serve() {
    return session_->input().poll(
        [this](const record_fields& fields, body&& content) {
          switch (fields.kind) {
            case record_kind::call: return invoke(fields, std::move(content));
            case record_kind::resolve: return resolve(fields, content.text());
            default: session_->core().fail(errc::corrupt, "the host sent an answer to its worker");
          }
        },
        poll_batch);
  }

  void resolve(const record_fields& fields, std::string_view name) {
    if (name.size() > longest_name) name = {};  // known to nobody
    const auto known = numbers_.find(std::string(name));
    if (known == numbers_.end()) {
      context nobody(session_, fields.call, {}, 0);
      (void)nobody.fail(errc::function_not_found, fmt::format("no function named '{}'", name));
      return;
    }
    record_fields answer;
    answer.kind = record_kind::reply;
    answer.call = fields.call;
    answer.function = known->second;
    (void)session_->answer(answer, std::span<const std::byte>());
  }

  void invoke(const record_fields& fields, body&& content) {
    if (fields.function >= functions_.size()) {
      context nobody(session_, fields.call, {}, 0);
      return (void)nobody.fail(errc::function_not_found, "no function of that number");
    }
    entry& called = functions_[fields.function];
    context call(session_, fields.call, called.name, fields.deadline_ns);
    try {
      called.function(call, std::move(content));
    } catch (const std::exception& problem) {
      (void)call.fail(errc::panic, problem.what());
    } catch (...) {
      (void)call.fail(errc::panic, "an exception that is no std::exception");
    }
  }

  session_options options_;
  std::vector<entry> functions_;
  std::unordered_map<std::string, std::uint32_t> numbers_;
};

worker::worker(session_options options) : impl_(std::make_unique<impl>(std::move(options))) {}
worker::~worker() = default;

worker& worker::raw(std::string name, raw_function function) {
  impl_->add(std::move(name), std::move(function));
  return *this;
}

result<void, call_error> worker::open(unique_fd socket) { return impl_->open(std::move(socket)); }
result<std::size_t, call_error> worker::run_once(std::chrono::nanoseconds timeout) {
  return impl_->run_once(timeout);
}
int worker::fd() { return impl_->fd(); }
const char* worker::reactor_name() const noexcept {
  if (!impl_->session_) return "none";
  return impl_->loop_->reactor_name();
}

result<void, call_error> worker::run() {
  auto socket = inherited_socket();
  if (!socket) return std::move(socket).error();
  if (auto opened = open(std::move(*socket)); !opened) return opened.error();
  return impl_->run();
}

int worker::main() noexcept {
  const auto ended = run();
  if (ended) return 0;
  std::fprintf(stderr, "ferry worker: %s\n", ended.error().message().c_str());
  return 1;
}

}  // namespace ferry
