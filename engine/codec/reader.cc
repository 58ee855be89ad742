#include "engine/codec/reader.h"

#include <bit>
#include <limits>

namespace ferry {
namespace {

constexpr const char* truncated = "truncated value";
constexpr const char* out_of_range = "integer out of range";

error invalid(const char* what) noexcept { return error{errc::invalid_params, 0, what}; }

// Makes a loaded number opaque, so the compiler cannot load it a second time after we checked it:
// the input may be memory that a peer is still writing to.
template <class T>
T loaded_once(T value) noexcept {
  asm("" : "+r"(value));
  return value;
}

// The types with their own byte, 0xc0 to 0xdf: what it is, and how many bytes of number follow.
struct type_form {
  value_kind kind;
  std::uint8_t number_bytes;
};
constexpr std::uint8_t first_form = 0xc0;
constexpr std::uint8_t reserved_type = 0xc1;
constexpr std::uint8_t type_true = 0xc3;
constexpr std::uint8_t type_real32 = 0xca;
constexpr std::uint8_t first_signed = 0xd0, last_signed = 0xd3;
constexpr std::uint8_t first_fixext = 0xd4, last_fixext = 0xd8;  // payload of 1, 2, 4, 8, 16 bytes
constexpr type_form forms[32] = {
    {value_kind::nil, 0},       {value_kind::nil, 0},        // 0xc0, and 0xc1 = reserved_type
    {value_kind::boolean, 0},   {value_kind::boolean, 0},    // 0xc2
    {value_kind::binary, 1},    {value_kind::binary, 2},     // 0xc4
    {value_kind::binary, 4},    {value_kind::extension, 1},  // 0xc6
    {value_kind::extension, 2}, {value_kind::extension, 4},  // 0xc8
    {value_kind::real, 4},      {value_kind::real, 8},       // 0xca
    {value_kind::integer, 1},   {value_kind::integer, 2},    // 0xcc: unsigned
    {value_kind::integer, 4},   {value_kind::integer, 8},    // 0xce
    {value_kind::integer, 1},   {value_kind::integer, 2},    // 0xd0: signed
    {value_kind::integer, 4},   {value_kind::integer, 8},    // 0xd2
    {value_kind::extension, 0}, {value_kind::extension, 0},  // 0xd4: fixext
    {value_kind::extension, 0}, {value_kind::extension, 0},  // 0xd6
    {value_kind::extension, 0}, {value_kind::string, 1},     // 0xd8
    {value_kind::string, 2},    {value_kind::string, 4},     // 0xda
    {value_kind::array, 2},     {value_kind::array, 4},      // 0xdc
    {value_kind::map, 2},       {value_kind::map, 4},        // 0xde
};

std::int64_t sign_extend(std::uint64_t bits, unsigned number_bytes) noexcept {
  const unsigned unused_bits = 64 - 8 * number_bytes;
  return static_cast<std::int64_t>(bits << unused_bits) >> unused_bits;
}

}  // namespace

// A value's first bytes, understood: everything before the payload.
struct value_reader::head {
  value_kind kind = value_kind::nil;
  bool negative = false;        // an integer below zero; `bits` is then two's complement
  std::uint8_t size_bytes = 1;  // of the head itself
  std::uint64_t bits = 0;  // integer, boolean, real as a double's bits, payload length, or count

  bool has_payload() const noexcept {
    return kind == value_kind::string || kind == value_kind::binary ||
           kind == value_kind::extension;
  }
  bool is_container() const noexcept {
    return kind == value_kind::array || kind == value_kind::map;
  }
  // Head and payload fit the input: load_head has compared them.
  std::size_t value_bytes() const noexcept {
    return size_bytes + (has_payload() ? static_cast<std::size_t>(bits) : 0);
  }
};

const char* value_reader::load_head(head& out) const noexcept {
  const auto rest = input_.subspan(position_);
  if (rest.empty()) return truncated;
  const auto type = loaded_once(std::to_integer<std::uint8_t>(rest[0]));

  // The types whose number is part of the type byte.
  if (type <= 0x7f) {
    out = {value_kind::integer, false, 1, type};
    return nullptr;
  }
  if (type <= 0x8f) {
    out = {value_kind::map, false, 1, type & 0x0fu};
    return nullptr;
  }
  if (type <= 0x9f) {
    out = {value_kind::array, false, 1, type & 0x0fu};
    return nullptr;
  }
  if (type <= 0xbf) {
    out = {value_kind::string, false, 1, type & 0x1fu};
    return out.bits <= rest.size() - 1 ? nullptr : truncated;
  }
  if (type >= 0xe0) {
    out = {value_kind::integer, true, 1, static_cast<std::uint64_t>(sign_extend(type, 1))};
    return nullptr;
  }
  if (type == reserved_type) return "reserved type byte 0xc1";

  const type_form form = forms[type - first_form];
  if (form.number_bytes > rest.size() - 1) return truncated;
  std::uint64_t bits = 0;
  for (const std::byte digit : rest.subspan(1, form.number_bytes)) {
    bits = bits << 8 | std::to_integer<std::uint64_t>(digit);
  }
  bits = loaded_once(bits);
  out = {form.kind, false, static_cast<std::uint8_t>(1 + form.number_bytes), bits};

  if (form.kind == value_kind::boolean) out.bits = type == type_true;
  if (type == type_real32) {
    const auto narrow = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    out.bits = std::bit_cast<std::uint64_t>(static_cast<double>(narrow));
  }
  if (type >= first_signed && type <= last_signed) {
    const std::int64_t value = sign_extend(bits, form.number_bytes);
    out.negative = value < 0;
    out.bits = static_cast<std::uint64_t>(value);
  }
  if (form.kind == value_kind::extension) {
    out.size_bytes += 1;  // the extension's own type
    if (type >= first_fixext && type <= last_fixext) out.bits = 1u << (type - first_fixext);
  }
  if (out.has_payload()) {
    if (out.size_bytes > rest.size() || out.bits > rest.size() - out.size_bytes) return truncated;
  }
  return nullptr;
}

result<value_reader::head> value_reader::expect(value_kind kind,
                                                const char* otherwise) const noexcept {
  head next;
  if (const char* why = load_head(next)) return invalid(why);
  if (next.kind != kind) return invalid(otherwise);
  return next;
}

// A value of `size_bytes` has been read: step over it, and out of every container it completes.
void value_reader::consume(std::size_t size_bytes) noexcept {
  position_ += size_bytes;
  if (depth_ > 0) --pending_;
  while (depth_ > 0 && --left_[depth_ - 1] == 0) --depth_;
}

// Steps into an array or map. It leaves itself when consume() has seen its last value.
result<void> value_reader::open(const head& container) noexcept {
  if (depth_ == max_value_depth) {
    static_assert(max_value_depth == 64);  // said in the text
    return invalid("nesting deeper than 64");
  }
  const bool is_map = container.kind == value_kind::map;
  const std::uint64_t values = is_map ? 2 * container.bits : container.bits;
  const std::uint64_t pending = pending_ - (depth_ > 0 ? 1 : 0) + values;
  const std::uint64_t rest = input_.size() - position_ - container.size_bytes;
  if (pending > rest) {
    return error{errc::invalid_params, 0,
                 is_map ? "map longer than the input" : "array longer than the input",
                 container.bits, rest};
  }
  if (values == 0) {
    consume(container.size_bytes);
    return {};
  }
  position_ += container.size_bytes;
  pending_ = pending;
  left_[depth_++] = values;
  return {};
}

result<std::uint32_t> value_reader::enter(value_kind kind, const char* otherwise) noexcept {
  const auto next = expect(kind, otherwise);
  if (!next) return next.error();
  if (const auto opened = open(*next); !opened) return opened.error();
  return static_cast<std::uint32_t>(next->bits);
}

result<value_kind> value_reader::peek() const noexcept {
  head next;
  if (const char* why = load_head(next)) return invalid(why);
  return next.kind;
}

bool value_reader::next_is_nil() const noexcept {
  head next;
  return load_head(next) == nullptr && next.kind == value_kind::nil;
}

result<void> value_reader::nil() noexcept {
  const auto next = expect(value_kind::nil, "expected nil");
  if (!next) return next.error();
  consume(next->value_bytes());
  return {};
}

result<bool> value_reader::boolean() noexcept {
  const auto next = expect(value_kind::boolean, "expected a boolean");
  if (!next) return next.error();
  consume(next->value_bytes());
  return next->bits != 0;
}

result<std::int64_t> value_reader::integer() noexcept {
  const auto next = expect(value_kind::integer, "expected an integer");
  if (!next) return next.error();
  constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
  if (!next->negative && next->bits > most) return invalid(out_of_range);
  consume(next->value_bytes());
  return static_cast<std::int64_t>(next->bits);
}

result<std::uint64_t> value_reader::unsigned_integer() noexcept {
  const auto next = expect(value_kind::integer, "expected an integer");
  if (!next) return next.error();
  if (next->negative) return invalid(out_of_range);
  consume(next->value_bytes());
  return next->bits;
}

result<double> value_reader::real() noexcept {
  head next;
  if (const char* why = load_head(next)) return invalid(why);
  double value = 0;
  if (next.kind == value_kind::real) {
    value = std::bit_cast<double>(next.bits);
  } else if (next.kind == value_kind::integer) {
    // Exact when the digits between the highest and the lowest one bit fit the mantissa; converting
    // there and back to compare would overflow near 2^64.
    const std::uint64_t magnitude = next.negative ? 0 - next.bits : next.bits;
    const int digits = 64 - std::countl_zero(magnitude) - std::countr_zero(magnitude);
    if (digits > std::numeric_limits<double>::digits) {
      return invalid("integer that no real holds exactly");
    }
    value = static_cast<double>(magnitude);
    if (next.negative) value = -value;
  } else {
    return invalid("expected a number");
  }
  consume(next.value_bytes());
  return value;
}

result<std::string_view> value_reader::string() noexcept {
  const auto next = expect(value_kind::string, "expected a string");
  if (!next) return next.error();
  const auto payload =
      input_.subspan(position_ + next->size_bytes, static_cast<std::size_t>(next->bits));
  consume(next->value_bytes());
  return std::string_view(reinterpret_cast<const char*>(payload.data()), payload.size());
}

result<std::span<const std::byte>> value_reader::binary() noexcept {
  const auto next = expect(value_kind::binary, "expected binary");
  if (!next) return next.error();
  const auto payload =
      input_.subspan(position_ + next->size_bytes, static_cast<std::size_t>(next->bits));
  consume(next->value_bytes());
  return payload;
}

result<std::uint32_t> value_reader::array() noexcept {
  return enter(value_kind::array, "expected an array");
}

result<std::uint32_t> value_reader::map() noexcept {
  return enter(value_kind::map, "expected a map");
}

result<void> value_reader::skip() noexcept {
  const auto position = position_;
  const auto depth = depth_;
  const auto pending = pending_;
  do {
    head next;
    const char* why = load_head(next);
    result<void> step;
    if (why != nullptr) {
      step = invalid(why);
    } else if (next.is_container()) {
      step = open(next);
    } else {
      consume(next.value_bytes());
    }
    if (!step) {
      // Containers around the skipped value count it only when it is complete, so their entries
      // in left_ are untouched.
      position_ = position;
      depth_ = depth;
      pending_ = pending;
      return step;
    }
  } while (depth_ > depth);
  return {};
}

}  // namespace ferry
