// The bytes of a call: `loan` while its author fills it, `body` when its reader has it.
// Lifetime  both keep alive what they need: a body stays readable after the peer died and the
//           session is gone; dropping it gives the memory back to its owner.
// Threads   move-only values; one thread at a time each, but any thread may drop one.
// Trust     a small body is a private snapshot. A large one is *borrowed*: read where the peer
//           wrote it, and a hostile peer could still change it while it is read. Copy first what
//           must not change between a check and its use.
// Source    engine/README.md, "Bodies".
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "ring/atomics.h"
#include "shm/body_arena.h"
#include "shm/check.h"

namespace ferry {

class session_core;

// Takes back the memory of a body when its reader is done.
class body_owner {
 public:
  virtual ~body_owner() = default;
  virtual void give_back(const std::byte* data, std::uint32_t id) noexcept = 0;
};

class body {
 public:
  // Bodies up to this size lie in the object itself: no allocation, no reference count.
  static constexpr std::size_t tiny_bytes = 64;

  body() = default;
  // A body that lies with `owner`, which gets it back by give_back(data, id).
  body(std::span<const std::byte> bytes, std::shared_ptr<body_owner> owner,
       std::uint32_t id) noexcept;
  // A copy of at most tiny_bytes bytes.
  static body tiny(std::span<const std::byte> bytes) noexcept {
    FERRY_CHECK(bytes.size() <= tiny_bytes);
    body small;
    small.size_ = bytes.size();
    if (!bytes.empty()) std_atomics::read(small.tiny_, bytes.data(), bytes.size());
    return small;
  }
  // The same of bytes that begin a cache line of a ring, all of which is readable.
  static body tiny_line(std::span<const std::byte> bytes) noexcept {
    FERRY_CHECK(bytes.size() <= tiny_bytes);
    body small;
    small.size_ = bytes.size();
    // The whole line: a copy of a fixed size is a few instructions, one of a variable size a call.
    if (!bytes.empty()) std_atomics::read(small.tiny_, bytes.data(), tiny_bytes);
    return small;
  }

  body(body&& other) noexcept { take(other); }
  body& operator=(body&& other) noexcept {
    if (this != &other) {
      drop();
      take(other);
    }
    return *this;
  }
  ~body() { drop(); }

  std::span<const std::byte> bytes() const noexcept { return {data(), size_}; }
  const std::byte* data() const noexcept { return owner_ ? data_ : tiny_; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data()), size_}; }
  // True if the bytes lie in the peer's memory (see Trust above).
  bool borrowed() const noexcept { return body_id_ != 0; }

 private:
  void drop() noexcept {
    if (owner_) give_back();
  }
  void give_back() noexcept;
  void take(body& other) noexcept {
    data_ = other.data_;
    size_ = std::exchange(other.size_, 0);
    body_id_ = std::exchange(other.body_id_, 0);
    owner_ = std::move(other.owner_);
    // All of it, as in tiny_line.
    if (!owner_ && size_ != 0) std::memcpy(tiny_, other.tiny_, sizeof tiny_);
  }

  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::shared_ptr<body_owner> owner_;  // empty: the bytes are in tiny_
  std::uint32_t body_id_ = 0;
  std::byte tiny_[tiny_bytes];
};

// Memory to fill and send. Not sent, it goes back by itself.
class loan {
 public:
  loan() = default;
  loan(loan&& other) noexcept;
  loan& operator=(loan&& other) noexcept;
  ~loan() { drop(); }

  std::span<std::byte> bytes() const noexcept { return {data_, size_}; }
  std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  // Sends only the first `size_bytes`; it cannot grow.
  void shrink(std::size_t size_bytes) noexcept;

 private:
  friend class session_core;
  void drop() noexcept;

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::shared_ptr<session_core> core_;  // empty: no loan
  arena_block block_{};                 // block_.segment == 0: a block of the small pool
};

}  // namespace ferry
