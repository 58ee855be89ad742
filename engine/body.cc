#include "engine/body.h"

#include <utility>

#include "engine/session/core.h"

namespace ferry {

body::body(std::span<const std::byte> bytes, std::shared_ptr<body_owner> owner,
           std::uint32_t id) noexcept
    : data_(bytes.data()), size_(bytes.size()), owner_(std::move(owner)), body_id_(id) {}

void body::give_back() noexcept {
  owner_->give_back(data_, body_id_);
  owner_.reset();
}

loan::loan(loan&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      core_(std::move(other.core_)),
      block_(other.block_) {}

loan& loan::operator=(loan&& other) noexcept {
  if (this != &other) {
    drop();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    core_ = std::move(other.core_);
    block_ = other.block_;
  }
  return *this;
}

void loan::drop() noexcept {
  if (core_) {
    core_->release(*this);
    core_.reset();
  }
}

void loan::shrink(std::size_t size_bytes) noexcept {
  FERRY_CHECK(size_bytes <= size_);
  size_ = size_bytes;
}

}  // namespace ferry
