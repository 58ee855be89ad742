#include "engine/codec/writer.h"

#include <bit>
#include <cstring>
#include <limits>
#include <msgpack.hpp>

#include "shm/check.h"

namespace ferry {
namespace {

// The stream that msgpack's packer writes to.
struct packer_stream {
  value_writer& to;
  void write(const char* data, std::size_t size_bytes) {
    to.raw(std::as_bytes(std::span(data, size_bytes)));
  }
};

// Runs `pack` on a packer whose bytes end in `to`. The packer holds one reference, so making one
// for each value costs nothing.
template <class Pack>
void pack_into(value_writer& to, Pack pack) {
  packer_stream stream{to};
  msgpack::packer<packer_stream> packer(stream);
  pack(packer);
}

std::uint32_t checked_size(std::size_t size_bytes) {
  FERRY_CHECK(size_bytes <= std::numeric_limits<std::uint32_t>::max());
  return static_cast<std::uint32_t>(size_bytes);
}

// A real by hand: msgpack's pack_double writes whole numbers as integers, which loses the sign of
// -0.0 and converts 2^64 to an integer that cannot hold it.
template <class Bits>
void put_real(value_writer& to, std::uint8_t type, Bits bits) {
  std::byte out[1 + sizeof(Bits)] = {std::byte{type}};
  for (std::size_t i = sizeof(Bits); i > 0; --i, bits = static_cast<Bits>(bits >> 8)) {
    out[i] = static_cast<std::byte>(bits & 0xff);
  }
  to.raw(out);
}

}  // namespace

void value_writer::nil() {
  pack_into(*this, [](auto& packer) { packer.pack_nil(); });
}

void value_writer::boolean(bool value) {
  pack_into(*this, [&](auto& packer) { value ? packer.pack_true() : packer.pack_false(); });
}

void value_writer::integer(std::int64_t value) {
  pack_into(*this, [&](auto& packer) { packer.pack_int64(value); });
}

void value_writer::unsigned_integer(std::uint64_t value) {
  pack_into(*this, [&](auto& packer) { packer.pack_uint64(value); });
}

void value_writer::real(double value) {
  put_real(*this, 0xcb, std::bit_cast<std::uint64_t>(value));
}

void value_writer::real32(float value) {
  put_real(*this, 0xca, std::bit_cast<std::uint32_t>(value));
}

void value_writer::string(std::string_view value) {
  pack_into(*this, [&](auto& packer) { packer.pack_str(checked_size(value.size())); });
  raw(std::as_bytes(std::span(value)));
}

void value_writer::binary(std::span<const std::byte> value) {
  pack_into(*this, [&](auto& packer) { packer.pack_bin(checked_size(value.size())); });
  raw(value);
}

void value_writer::array(std::uint32_t count) {
  pack_into(*this, [&](auto& packer) { packer.pack_array(count); });
}

void value_writer::map(std::uint32_t count) {
  pack_into(*this, [&](auto& packer) { packer.pack_map(count); });
}

void value_writer::raw(std::span<const std::byte> encoded) {
  if (encoded.empty()) return;  // memcpy must not see the null pointer of an empty span
  if (spill_.empty()) {
    if (encoded.size() <= small_.size() - small_used_) {
      std::memcpy(small_.data() + small_used_, encoded.data(), encoded.size());
      small_used_ += encoded.size();
      return;
    }
    spill_.reserve(2 * (small_used_ + encoded.size()));
    spill_.assign(small_.begin(), small_.begin() + static_cast<std::ptrdiff_t>(small_used_));
  }
  spill_.insert(spill_.end(), encoded.begin(), encoded.end());
}

std::span<const std::byte> value_writer::bytes() const noexcept {
  if (spilled()) return spill_;
  return small_.first(small_used_);
}

void value_writer::clear() noexcept {
  small_used_ = 0;
  spill_.clear();
}

}  // namespace ferry
