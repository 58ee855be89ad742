// The memory into which a byte stream is read: large while it is being read, nothing while idle.
// Units     bytes.
// Threads   one at a time; buffers are kept by the thread that gives them back.
// Source    engine/channel/README.md, "Byte streams".
#pragma once
#include <cstddef>
#include <memory>
#include <span>

namespace ferry {

class read_buffer {
 public:
  static constexpr std::size_t full_bytes = 160 << 10;
  static constexpr std::size_t small_bytes = 4 << 10;  // what an idle stream may keep
  static constexpr int at_once = 64;                   // of one thread, beyond what is needed

  read_buffer() = default;
  read_buffer(const read_buffer&) = delete;
  read_buffer& operator=(const read_buffer&) = delete;
  ~read_buffer() { release(); }

  std::span<const std::byte> bytes() const noexcept { return {memory_.get() + begin_, size()}; }
  std::size_t size() const noexcept { return end_ - begin_; }
  void drop(std::size_t count) noexcept;
  // Room behind the bytes, at least half of full_bytes if the bytes leave it. `only_spare`: empty
  // rather than one more large buffer than at_once.
  std::span<std::byte> room(bool only_spare);
  void filled(std::size_t count) noexcept { end_ += count; }
  // Nothing is going to come soon: keeps only what lies there.
  void rest();

 private:
  bool take(bool only_spare);
  void release() noexcept;

  std::unique_ptr<std::byte[]> memory_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0, end_ = 0;
};

}  // namespace ferry
