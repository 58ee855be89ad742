// The bytes of a message: what the author fills, what the reader reads, on every transport.
// Lifetime  owns what it holds, or keeps it alive: readable after its channel has gone.
// Threads   move-only values; one thread at a time each, any thread may drop one.
// Trust     as body.h: a large body that came over shared memory is read where the peer wrote it.
// Source    engine/channel/README.md, "Bodies".
#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <variant>

#include "engine/body.h"

namespace ferry {

class payload {
 public:
  payload() = default;
  payload(body&& read) noexcept : held_(std::move(read)), size_(std::get<body>(held_).size()) {}
  // Memory of a session, to be filled; sent by its channel without a copy.
  payload(loan&& lent) noexcept : held_(std::move(lent)), size_(std::get<loan>(held_).size()) {}
  payload(payload&& other) noexcept
      : held_(std::move(other.held_)),
        writable_(std::exchange(other.writable_, nullptr)),
        offset_(std::exchange(other.offset_, 0)),
        size_(std::exchange(other.size_, 0)) {}
  payload& operator=(payload&& other) noexcept {
    // As new: an assignment would first look at all that either may hold.
    if (this != &other) std::construct_at((std::destroy_at(this), this), std::move(other));
    return *this;
  }

  static payload copy_of(std::span<const std::byte> bytes);
  static payload copy_of(std::string_view text) { return copy_of(std::as_bytes(std::span(text))); }
  // Fresh memory of this process, to be filled by way of writable().
  static payload allocate(std::size_t size_bytes);

  std::span<const std::byte> bytes() const noexcept { return {data(), size_}; }
  const std::byte* data() const noexcept {
    const loan* const lent = std::get_if<loan>(&held_);
    return (lent != nullptr ? lent->data() : std::get<body>(held_).data()) + offset_;
  }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data()), size_}; }
  // To be filled before it is sent; empty for what was received or copied.
  std::span<std::byte> writable() noexcept;
  bool borrowed() const noexcept {
    const body* const read = std::get_if<body>(&held_);
    return read != nullptr && read->borrowed();
  }
  // Keeps only `size_bytes` from `offset` on.
  void narrow(std::size_t offset, std::size_t size_bytes) noexcept;

  // For links: the loan that holds the bytes, with all its room; null: they lie elsewhere.
  loan* lent() noexcept { return std::get_if<loan>(&held_); }

 private:
  std::variant<body, loan> held_;
  std::byte* writable_ = nullptr;
  std::size_t offset_ = 0;
  std::size_t size_ = 0;
};

}  // namespace ferry
