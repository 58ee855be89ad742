#include "tools/examples/console.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace ferry::examples {
namespace {

constexpr auto redraw_pause = std::chrono::milliseconds(100);
constexpr const char* erase_line = "\r\033[K";

std::size_t terminal_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

double share(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : std::min(1.0, static_cast<double>(part) / static_cast<double>(whole));
}

double gigabytes(std::uint64_t bytes) { return static_cast<double>(bytes) / 1e9; }

std::string bar_of(double done, std::size_t width) {
  std::string out(width, ' ');
  const auto full = static_cast<std::size_t>(done * static_cast<double>(width));
  std::fill_n(out.begin(), full, '=');
  if (full < width) out[full] = '>';
  return out;
}

}  // namespace

void console::say(std::string_view file_name, std::string_view what) {
  clear();
  fmt::print(stderr, "files-host: {}: {}\n", shown(file_name), what);
}

void console::say(std::string_view what) {
  clear();
  fmt::print(stderr, "files-host: {}\n", what);
}

void console::print(std::string_view line) {
  clear();
  std::fwrite(line.data(), 1, line.size(), stdout);
  std::fputc('\n', stdout);
}

void console::begin(work_done total) {
  total_ = total;
  began_ = next_draw_ = clock::now();
}

void console::update(work_done done) {
  if (!bar_) return;
  const auto now = clock::now();
  if (now < next_draw_) return;
  next_draw_ = now + redraw_pause;
  const double seconds = std::chrono::duration<double>(now - began_).count();
  const double part =
      total_.bytes == 0 ? share(done.files, total_.files) : share(done.bytes, total_.bytes);
  std::string eta = "-:--";
  if (part > 0 && seconds > 0.2) {
    const auto left = static_cast<std::uint64_t>(seconds / part - seconds + 0.5);
    eta = fmt::format("{}:{:02}", left / 60, left % 60);
  }
  const std::string figures =
      fmt::format(" {}/{} files  {:.2f}/{:.2f} GB  {:.2f} GB/s  ETA {}", done.files, total_.files,
                  gigabytes(done.bytes), gigabytes(total_.bytes),
                  seconds > 0 ? gigabytes(done.bytes) / seconds : 0, eta);
  const std::size_t columns = terminal_columns() - 1;  // the last one makes some terminals wrap
  std::string line = figures.substr(1);
  if (figures.size() + 12 < columns) {
    line = fmt::format(
        "[{}]{}", bar_of(part, std::min<std::size_t>(columns - figures.size() - 2, 40)), figures);
  }
  line.resize(std::min(line.size(), columns));
  fmt::print(stderr, "{}{}", erase_line, line);
  std::fflush(stderr);
  drawn_ = true;
}

void console::clear() noexcept {
  if (!drawn_) return;
  std::fputs(erase_line, stderr);
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace ferry::examples
