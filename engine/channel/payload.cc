#include "engine/channel/payload.h"

#include <cstring>

#include "engine/channel/body_memory.h"

namespace ferry {

payload payload::copy_of(std::span<const std::byte> bytes) {
  if (bytes.size() <= body::tiny_bytes) return payload(body::tiny(bytes));
  payload copy = allocate(bytes.size());
  std::memcpy(copy.writable_, bytes.data(), bytes.size());
  copy.writable_ = nullptr;
  return copy;
}

payload payload::allocate(std::size_t size_bytes) {
  auto made = new_body(size_bytes);
  payload fresh(std::move(made.content));
  fresh.writable_ = made.bytes;
  return fresh;
}

std::span<std::byte> payload::writable() noexcept {
  if (loan* const lent = std::get_if<loan>(&held_)) return {lent->data() + offset_, size_};
  if (writable_ == nullptr) return {};
  return {writable_ + offset_, size_};
}

void payload::narrow(std::size_t offset, std::size_t size_bytes) noexcept {
  FERRY_CHECK(offset <= size_ && size_bytes <= size_ - offset);
  offset_ += offset;
  size_ = size_bytes;
}

}  // namespace ferry
