#include "engine/channel/body_memory.h"

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "ring/atomics.h"

namespace ferry {
namespace {

// The blocks of one thread. It takes and gives them without a locked instruction, and a body holds
// no reference: the pool itself counts what is out. Other threads give back to a list of their own.
class block_pool final : public body_owner {
 public:
  block_pool() noexcept : owner_(self()) {}

  std::byte* take() {
    if (free_ == nullptr) {
      // sync(blocks.given) acquire: pairs with the release in give_back().
      free_ = given_back_.exchange(nullptr, std::memory_order_acquire);
    }
    if (free_ == nullptr) grow();
    node* const block = free_;
    free_ = block->next;
    ++out_;
    return reinterpret_cast<std::byte*>(block);
  }
  void give_back(const std::byte* data, std::uint32_t) noexcept override {
    // It came from take(), which gave it writable.
    node* const block = new (const_cast<std::byte*>(data)) node{nullptr};
    // relaxed: only the owner can find itself here, and it alone changes it.
    if (owner_.load(std::memory_order_relaxed) == self()) {
      block->next = free_;
      free_ = block;
      --out_;
      return;
    }
    block->next = given_back_.load(std::memory_order_relaxed);
    // sync(blocks.given) release: pairs with the acquire in take(): readers are done with it.
    while (!given_back_.compare_exchange_weak(block->next, block, std::memory_order_release,
                                              std::memory_order_relaxed)) {
    }
    settle(-1);
  }
  // The thread ends: the pool goes with the last of its blocks.
  void retire() noexcept {
    owner_.store(nullptr, std::memory_order_relaxed);
    settle(out_);
  }

 private:
  struct node {
    node* next;
  };
  static constexpr std::size_t blocks_per_chunk = 16;

  static const void* self() noexcept {
    static thread_local const char here = 0;
    return &here;
  }
  void grow() {
    chunks_.push_back(std::make_unique_for_overwrite<std::byte[]>(pooled_bytes * blocks_per_chunk));
    for (std::size_t i = 0; i < blocks_per_chunk; ++i) {
      free_ = new (chunks_.back().get() + i * pooled_bytes) node{free_};
    }
  }
  // What others gave back counts down from zero; when the owner has added what was out in all, the
  // rest is what still is.
  void settle(std::int64_t change) noexcept {
    // acq_rel: whoever finds the last one back sees what all others did, and ends the pool.
    if (balance_.fetch_add(change, std::memory_order_acq_rel) + change == 0) delete this;
  }

  std::atomic<const void*> owner_;
  node* free_ = nullptr;  // of the owner, as the next two
  std::int64_t out_ = 0;  // taken, and not given back by the owner itself
  std::vector<std::unique_ptr<std::byte[]>> chunks_;
  alignas(pad_bytes) std::atomic<node*> given_back_{nullptr};
  std::atomic<std::int64_t> balance_{0};
};

// Null before the first body of a thread and after its last: the destructors of other thread-local
// objects may still make some.
thread_local constinit block_pool* pool_here = nullptr;
thread_local constinit bool pool_has_gone = false;

block_pool* pool_of_thread() {
  struct holder {
    holder() { pool_here = new block_pool(); }
    ~holder() {
      pool_has_gone = true;
      std::exchange(pool_here, nullptr)->retire();
    }
  };
  if (pool_has_gone) return nullptr;
  static thread_local const holder mine;
  return pool_here;
}

struct heap_block final : body_owner {
  explicit heap_block(std::size_t size_bytes)
      : bytes(std::make_unique_for_overwrite<std::byte[]>(size_bytes)) {}
  void give_back(const std::byte*, std::uint32_t) noexcept override {}
  const std::unique_ptr<std::byte[]> bytes;
};

}  // namespace

fresh_body new_body(std::size_t size_bytes) {
  if (size_bytes <= pooled_bytes) {
    block_pool* const pool = pool_here != nullptr ? pool_here : pool_of_thread();
    if (pool != nullptr) {
      std::byte* const block = pool->take();
      // Shares nothing: the pool outlives its blocks by itself.
      std::shared_ptr<body_owner> owner(std::shared_ptr<body_owner>(), pool);
      return {body({block, size_bytes}, std::move(owner), 0), block};
    }
  }
  auto block = std::make_shared<heap_block>(size_bytes);
  std::byte* const bytes = block->bytes.get();
  return {body({bytes, size_bytes}, std::move(block), 0), bytes};
}

}  // namespace ferry
