#include "engine/channel/body_memory.h"

#include "engine/session/small_pool.h"

namespace ferry {
namespace {

struct block_pool final : body_owner {
  void give_back(const std::byte* data, std::uint32_t) noexcept override {
    blocks.give(const_cast<std::byte*>(data));  // it came from take(), which gave it writable
  }
  small_pool blocks{pooled_bytes};
};

struct heap_block final : body_owner {
  explicit heap_block(std::size_t size_bytes)
      : bytes(std::make_unique_for_overwrite<std::byte[]>(size_bytes)) {}
  void give_back(const std::byte*, std::uint32_t) noexcept override {}
  const std::unique_ptr<std::byte[]> bytes;
};

}  // namespace

fresh_body new_body(std::size_t size_bytes) {
  if (size_bytes <= pooled_bytes) {
    static thread_local const auto pool = std::make_shared<block_pool>();
    std::byte* const block = pool->blocks.take();
    return {body({block, size_bytes}, pool, 0), block};
  }
  auto block = std::make_shared<heap_block>(size_bytes);
  std::byte* const bytes = block->bytes.get();
  return {body({bytes, size_bytes}, std::move(block), 0), bytes};
}

}  // namespace ferry
