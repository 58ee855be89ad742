#include "tools/examples/file_sender.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace ferry::examples {
namespace {

using namespace std::chrono_literals;

constexpr auto tick = 100ms;               // how late a signal or the bar may be noticed
constexpr auto grace_after_signal = 2s;    // for the calls in flight
constexpr auto grace_for_returns = 200ms;  // from an answer to its argument's memory
constexpr auto grace_for_status = 1s;      // from the end of a session to that of its process

// As sha256sum writes it: a name of several lines stays on one, and a mark in front tells.
std::string checksum_line(const std::string& answer, const std::string& name) {
  std::string escaped;
  for (const char c : name) {
    if (c == '\n') {
      escaped.append("\\n");
    } else if (c == '\r') {
      escaped.append("\\r");
    } else if (c == '\\') {
      escaped.append("\\\\");
    } else {
      escaped.push_back(c);
    }
  }
  return fmt::format("{}{}  {}", escaped.size() == name.size() ? "" : "\\", answer, escaped);
}

// Ends of a call that are the worker's, not the file's.
bool worker_is_gone(errc code) {
  return code == errc::unavailable || code == errc::closed || code == errc::timeout;
}

}  // namespace

file_sender::file_sender(sender_options options, const job& job, console& console, summary& summary,
                         const volatile std::sig_atomic_t& stop)
    : options_(std::move(options)), job_(job), console_(console), summary_(summary), stop_(stop) {}

bool file_sender::start_worker() {
  auto started = launch(options_.command, options_.launch);
  if (!started) {
    console_.say("cannot start the worker: " + started.error().message());
    return false;
  }
  const auto function = started->function(job_.function);
  if (!function) {
    console_.say(
        fmt::format("the worker cannot do '{}': {}", job_.function, function.error().message()));
    return false;
  }
  function_ = *function;
  worker_.emplace(std::move(*started));
  summary_.reactor = worker_->reactor_name();
  if (console_.verbose()) {
    console_.say(fmt::format("worker {} serves through {}", worker_->pid(), summary_.reactor));
  }
  return true;
}

run_end file_sender::send_all(std::vector<listed_file> files) {
  files_ = std::move(files);
  work_done total;
  for (std::size_t i = 0; i < files_.size(); ++i) {
    queue_.push_back(i);
    ++total.files;
    total.bytes += files_[i].size_bytes;
  }
  console_.begin(total);
  while (!queue_.empty() || !flights_.empty() || !lost_.empty()) {
    if (stop_ != 0) return leave();
    if (broken_) {
      if (!recover()) return stop_ != 0 ? leave() : run_end::worker_unusable;
    } else if (queue_.empty() || flights_.size() >= options_.max_in_flight) {
      turn(tick);
    } else {
      send_next();
    }
  }
  return run_end::complete;
}

// Deals with the file in front of the queue. It stays there if the worker broke or a signal came.
void file_sender::send_next() {
  const std::size_t file = queue_.front();
  const auto give_up = [&](problem why) {
    queue_.pop_front();
    bytes_given_up_ += files_[file].size_bytes;
    note(file, std::move(why));
  };

  auto source = file_source::open(files_[file].name, options_.max_body_bytes);
  if (!source) return give_up(std::move(source).error());
  const std::size_t prefix = job_.prefix.size();
  const std::uint64_t size_bytes = prefix + source->size_bytes();
  while (may_go_on() && !has_room(size_bytes)) turn(tick);
  auto memory = borrow(size_bytes);
  if (!may_go_on()) return;
  if (!memory) {
    return give_up(
        {problem_kind::no_memory, fmt::format("no memory for its {} bytes: {}",
                                              source->size_bytes(), memory.error().message())});
  }

  std::memcpy(memory->data(), job_.prefix.data(), prefix);
  auto read = source->read_into(memory->bytes().subspan(prefix));
  if (!read) return give_up(std::move(read).error());
  memory->shrink(prefix + read->bytes);
  // Before it is handed over: from then on the memory is the worker's to read.
  flight made{file, read->bytes, size_bytes, job_.compute(memory->bytes().subspan(prefix)),
              std::move(read->changed)};

  const std::uint64_t number = ++last_number_;
  auto sent = worker_->call_async(
      function_, std::move(*memory),
      [this, number](call_result&& outcome) { landed(number, std::move(outcome)); });
  if (!sent) {
    if (worker_is_gone(sent.error().code)) {
      broken_ = std::move(sent).error();
      return;
    }
    return give_up({problem_kind::call_failed, "cannot be sent: " + sent.error().message()});
  }
  queue_.pop_front();
  bytes_in_flight_ += size_bytes;
  flights_.emplace(number, std::move(made));
  turn(0ns);
}

bool file_sender::has_room(std::uint64_t size_bytes) const {
  return flights_.empty() || bytes_in_flight_ + size_bytes <= options_.max_in_flight_bytes;
}

// When memory is short, what is in flight will bring some back: wait for all of it, then try again.
result<loan> file_sender::borrow(std::uint64_t size_bytes) {
  auto made = worker_->loan(size_bytes);
  if (!made && !worker_->connected()) turn(0ns);  // learns why
  if (made || worker_->stats().bodies_lent == 0) return made;
  while (may_go_on() && !flights_.empty()) turn(tick);
  const auto deadline = console::clock::now() + grace_for_returns;
  while (may_go_on() && worker_->stats().bodies_lent != 0 && console::clock::now() < deadline) {
    turn(1ms);
  }
  worker_->trim();
  return worker_->loan(size_bytes);
}

void file_sender::turn(std::chrono::nanoseconds timeout) {
  const auto ran = worker_->run_once(timeout);
  if (!ran && !broken_) broken_ = ran.error();
  console_.update(done_so_far());
}

// --- answers -------------------------------------------------------------------------------------

void file_sender::landed(std::uint64_t number, call_result&& outcome) {
  const auto node = flights_.extract(number);
  flight& of = node.mapped();
  bytes_in_flight_ -= of.loan_bytes;
  if (!outcome && worker_is_gone(outcome.error().code)) {
    if (!broken_) broken_ = outcome.error();
    lost_.push_back(std::move(of));
    return;
  }
  if (!outcome) {
    bytes_given_up_ += files_[of.file].size_bytes;
    return note(of.file,
                {problem_kind::call_failed, "the worker says: " + outcome.error().message()});
  }
  ++summary_.files;
  summary_.bytes += of.bytes;
  if (of.bytes == 0) ++summary_.empty;
  if (of.changed) note(of.file, *of.changed);
  const auto answer = job_.answer(outcome->bytes());
  if (!answer) {
    ++summary_.failed;
    return note(of.file, {problem_kind::wrong_answer,
                          "the worker's answer makes no sense: " + answer.error().message()});
  }
  checked(of, *answer);
}

void file_sender::checked(const flight& of, const std::string& answer) {
  if (answer != of.expected) {
    ++summary_.failed;
    return note(of.file, {problem_kind::wrong_answer,
                          fmt::format("the worker answers {}, but it is {}", answer, of.expected)});
  }
  ++summary_.verified;
  const std::string& name = files_[of.file].name;
  if (options_.print) console_.print(checksum_line(answer, name));
  if (console_.verbose()) {
    console_.say(name, of.bytes == 0 ? "verified, though empty"
                                     : fmt::format("verified, {} bytes", of.bytes));
  }
}

// --- ends ----------------------------------------------------------------------------------------

// Replaces a worker that is of no more use. False: it cannot be, the files are accounted for.
bool file_sender::recover() {
  std::string why = broken_->message();
  if (broken_->code == errc::timeout) worker_->process().kill(SIGKILL);  // it may hang for ever
  if (const auto ended = worker_->process().wait(grace_for_status)) {
    why.append("; it ended: " + ended->message());
  }
  worker_.reset();  // whatever is still in flight lands in lost_
  console_.say("lost the worker: " + why);
  std::ranges::sort(lost_, {}, &flight::file);

  // A signal that ends us may have ended the worker first.
  const bool again = stop_ == 0 && summary_.relaunches < options_.max_relaunches;
  for (const flight& of : lost_) {
    if (again) {
      console_.say(files_[of.file].name, "was with the lost worker, is sent again");
    } else if (stop_ == 0) {
      note(of.file, {problem_kind::worker_lost, "was with the lost worker"});
    }
  }
  if (!again && stop_ == 0) {
    lost_.clear();
    summary_.not_sent = queue_.size();
    console_.say(fmt::format("gave up on the worker after {} relaunches", summary_.relaunches));
    return false;
  }
  for (auto of = lost_.rbegin(); of != lost_.rend(); ++of) queue_.push_front(of->file);
  lost_.clear();
  broken_.reset();
  if (!again) return false;
  ++summary_.relaunches;
  if (start_worker()) return true;
  summary_.not_sent = queue_.size();
  return false;
}

// After a signal: lets what is in flight arrive, counts the rest.
run_end file_sender::leave() {
  const auto deadline = console::clock::now() + grace_after_signal;
  while (worker_ && !broken_ && !flights_.empty() && console::clock::now() < deadline) turn(tick);
  worker_.reset();
  for (const flight& of : lost_) {
    note(of.file, {problem_kind::interrupted, "was with the worker when the signal came"});
  }
  lost_.clear();
  summary_.not_sent = queue_.size();
  return run_end::interrupted;
}

void file_sender::note(std::size_t file, problem what) {
  const listed_file& of = files_[file];
  if (!of.named && what.kind == problem_kind::unreadable) {  // on a walk that is nothing unusual
    ++summary_.skipped[what.kind];
    if (!console_.verbose()) return;
    return console_.say(of.name, what.text);
  }
  console_.say(of.name, what.text);
  summary_.problems.push_back({of.name, std::move(what)});
}

work_done file_sender::done_so_far() const {
  const std::uint64_t waiting = queue_.size() + flights_.size() + lost_.size();
  return {files_.size() - waiting, summary_.bytes + bytes_given_up_};
}

}  // namespace ferry::examples
