#include "worker/worker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "worker/worker_link.h"

namespace ferry {
namespace {

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
  explicit impl(worker_options options) : options_(std::move(options)) {
    functions_.max_calls = options_.max_calls;
    if (options_.loop) loop_ = options_.loop->core();
  }
  ~impl() {
    if (!loop_) return;
    {
      const wheel_guard wheel(*loop_);
      here_.reset();
      // Closed first: its memory is free from then on, and a responder may keep a session longer.
      for (const auto& link : links_) {
        link->core().close();
        link->finish();
      }
    }
    functions_.lanes().stop();  // waits for what runs; it was told to stop
    const wheel_guard wheel(*loop_);
    for (const auto& link : links_) {
      link->drop();
      loop_->remove(*link);
    }
    if (!options_.loop) loop_->run_posts();  // of coroutines that have just ended
  }

  void add(handler made) {
    auto ready = functions_.prepare(std::move(made));
    {
      const std::lock_guard guard(registering_);
      if (!serving_ || loop_->mine()) return functions_.put(std::move(ready));
    }
    // Calls that run meanwhile wait for nothing.
    loop_->post([this, here = std::weak_ptr<bool>(here_), ready = std::move(ready)]() mutable {
      if (!here.expired()) functions_.put(std::move(ready));
    });
  }

  // `serves`: the session that it opened.
  result<void, call_error> open(unique_fd socket, std::shared_ptr<worker_link>* serves = nullptr) {
    if (auto ready = make_loop(); !ready) return ready;
    auto opened = session::open(std::move(socket), session_role::worker, options_, loop_);
    if (!opened) return std::move(opened).error();
    auto link = worker_link::make(loop_, std::move(*opened), functions_);
    if (serves != nullptr) *serves = link;
    {
      // From here on functions are looked up by whoever drives the loop.
      const std::lock_guard guard(registering_);
      serving_ = true;
    }
    const bool inside = loop_->mine();  // a function opens another session
    const wheel_guard wheel(*loop_);
    loop_->add(*link);
    links_.push_back(link);
    // Those of hosts that are gone, unless a function of theirs may be on the stack.
    if (!inside && functions_.inside == 0) {
      forget_ended();
    } else {
      loop_->post([this, here = std::weak_ptr<bool>(here_)] {
        if (!here.expired() && functions_.inside == 0) forget_ended();
      });
    }
    if (auto watched = loop_->watch(*link, link->core().socket(), 0); !watched) {
      return call_error{watched.error().code, watched.error().message(), false};
    }
    return {};
  }

  // All but the last, which says why it ended.
  void forget_ended() {
    std::vector<std::shared_ptr<worker_link>> dead;
    for (std::size_t i = 0; i + 1 < links_.size();) {
      if (!links_[i]->over()) {
        ++i;
        continue;
      }
      dead.push_back(std::move(links_[i]));
      links_.erase(links_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    for (const auto& each : dead) {
      each->drop();
      loop_->remove(*each);
    }
  }

  // Serves what is there, or waits for the first of it.
  result<std::size_t, call_error> run_once(std::chrono::nanoseconds timeout) {
    const bool waits = timeout > std::chrono::nanoseconds(0);
    if (auto over = all_over(waits)) return std::move(*over);
    auto ran = loop_->run_once(timeout);
    if (!ran) return call_error{ran.error().code, ran.error().message(), false};
    if (auto over = all_over(waits)) return std::move(*over);
    return *ran;
  }

  // Until the parent's session is over. Held: open() on another thread forgets those that are.
  result<void, call_error> run(const std::shared_ptr<worker_link>& parent) {
    parent->input().set_movable(!options_.loop);  // else this thread does nothing else
    loop_->take();
    while (!parent->over()) {
      const bool served = loop_->turn() != 0;
      loop_->give_way();
      if (served || loop_->wanted() || parent->over()) continue;
      if (loop_->wait(std::chrono::steady_clock::time_point::max()) == woke::timeout) {
        loop_->serve_due(std::chrono::steady_clock::now());
      }
    }
    parent->finish();
    loop_->leave();
    const call_error why = parent->core().failure();
    if (why.code == errc::closed) return {};
    return why;
  }

  std::vector<host_holdings> holdings() {
    std::vector<host_holdings> out;
    if (!loop_) return out;
    const wheel_guard wheel(*loop_);
    for (const auto& link : links_) {
      if (!link->over()) out.push_back({link->holdings(), link->core().peer_pid()});
    }
    return out;
  }

  result<void, call_error> make_loop() {
    if (loop_) return {};
    auto own = loop_core::create(options_.reactor);
    if (!own) return call_error{own.error().code, own.error().message(), false};
    loop_ = std::move(*own);
    return {};
  }

  bool forked() const noexcept { return made_in_.left(); }

  std::shared_ptr<loop_core> loop_;

 private:
  // Why, if no session is open. Without `waits` nothing is said while another thread drives.
  std::optional<call_error> all_over(bool waits) const {
    if (!options_.loop || loop_->mine() || loop_->forked()) return why_all_over();
    if (waits) {
      loop_->take();
    } else if (!loop_->try_take()) {
      return std::nullopt;
    }
    auto why = why_all_over();  // with the wheel: others drive it, and forget sessions
    loop_->leave();
    return why;
  }
  std::optional<call_error> why_all_over() const {
    for (const auto& link : links_) {
      if (!link->over()) return std::nullopt;
    }
    if (links_.empty()) return call_error{errc::invalid_request, "open a session first", false};
    return links_.back()->core().failure();
  }

  birthplace made_in_;
  std::shared_ptr<bool> here_ = std::make_shared<bool>();  // jobs on a shared loop may be later
  worker_options options_;
  registry functions_;
  std::vector<std::shared_ptr<worker_link>> links_;
  std::mutex registering_;  // guards serving_, and the functions until it is set
  bool serving_ = false;
};

worker::worker(worker_options options) : impl_(std::make_unique<impl>(std::move(options))) {}
worker::~worker() {
  // In a forked child the loop is the parent's, and the threads of the lanes do not exist.
  if (impl_->forked()) (void)impl_.release();
}

worker& worker::add(handler made) {
  impl_->add(std::move(made));
  return *this;
}
worker& worker::raw(std::string name, method_kind kind, raw_function function,
                    function_options options) {
  handler made;
  made.name = std::move(name);
  made.kind = kind;
  made.run = std::move(function);
  made.options = options;
  return add(std::move(made));
}

result<void, call_error> worker::open(unique_fd socket) { return impl_->open(std::move(socket)); }
result<std::size_t, call_error> worker::run_once(std::chrono::nanoseconds timeout) {
  return impl_->run_once(timeout);
}
int worker::fd() {
  FERRY_CHECK(impl_->loop_ != nullptr);  // open() comes first
  return impl_->loop_->fd();
}
const char* worker::reactor_name() const noexcept {
  return impl_->loop_ ? impl_->loop_->reactor_name() : "none";
}
std::vector<host_holdings> worker::holdings() { return impl_->holdings(); }
loop worker::loop() {
  const auto made = impl_->make_loop();
  FERRY_CHECK(made);
  return ferry::loop(impl_->loop_);
}

result<void, call_error> worker::run() {
  auto socket = inherited_socket();
  if (!socket) return std::move(socket).error();
  std::shared_ptr<worker_link> parent;
  if (auto opened = impl_->open(std::move(*socket), &parent); !opened) return opened.error();
  return impl_->run(parent);
}

int worker::main() noexcept {
  const auto ended = run();
  if (ended) return 0;
  std::fprintf(stderr, "ferry worker: %s\n", ended.error().message().c_str());
  return 1;
}

}  // namespace ferry
