// Decodes    what value_writer wrote of values that the input chooses.
// Input      one byte: how large the writer's borrowed buffer is; then for each value one byte that
//            chooses its kind, and its payload. Containers take their values from what follows.
// Property   the reader gives back each value as it was written and ends exactly at the end; the
//            bytes do not depend on whether they fitted the borrowed buffer; clear() leaves nothing
//            of them.
#include <array>
#include <bit>
#include <cmath>
#include <vector>

#include "engine/codec/reader.h"
#include "engine/codec/writer.h"
#include "tests/fuzz/fuzz.h"

namespace ferry {
namespace {

enum class action : std::uint8_t {
  nil,
  yes,
  no,
  integer,
  unsigned_integer,
  real,
  real32,
  string,
  binary,
  array,
  map,
  count
};

// Runs one visitor over the values that an input describes: to write them, then to compare them.
template <class Visitor>
void visit_value(fuzz_input& choices, Visitor& visitor, std::size_t depth) {
  constexpr unsigned scalars = static_cast<unsigned>(action::array);
  const unsigned limit = depth < max_value_depth ? static_cast<unsigned>(action::count) : scalars;
  switch (const auto what = static_cast<action>(choices.below(limit))) {
    case action::nil: return visitor.nil();
    case action::yes:
    case action::no: return visitor.boolean(what == action::yes);
    // Shifted, so that a few bytes make small and large numbers alike.
    case action::integer: {
      const unsigned shift = choices.below(64);
      return visitor.integer(choices.take<std::int64_t>() >> shift);
    }
    case action::unsigned_integer: {
      const unsigned shift = choices.below(64);
      return visitor.unsigned_integer(choices.take<std::uint64_t>() >> shift);
    }
    case action::real: return visitor.real(std::bit_cast<double>(choices.take<std::uint64_t>()));
    case action::real32: return visitor.real32(std::bit_cast<float>(choices.take<std::uint32_t>()));
    case action::string: {
      const std::size_t length = choices.take<std::uint16_t>();
      return visitor.string(choices.text(length));
    }
    case action::binary: {
      const std::size_t length = choices.take<std::uint16_t>();
      return visitor.binary(choices.bytes(length));
    }
    case action::array:
    case action::map: {
      // Of an input that has ended no large containers can be made: each value would be a nil.
      const std::uint32_t count = choices.below(40);
      const bool is_map = what == action::map;
      is_map ? visitor.map(count) : visitor.array(count);
      for (std::uint32_t i = 0; i < (is_map ? 2 * count : count); ++i) {
        visit_value(choices, visitor, depth + 1);
      }
      return;
    }
    case action::count: break;
  }
  FERRY_CHECK(false);  // an action that is none
}

class comparison {
 public:
  explicit comparison(value_reader& reader) : reader_(reader) {}

  void nil() {
    FERRY_CHECK(reader_.next_is_nil());
    FERRY_CHECK(reader_.nil());
  }
  void boolean(bool value) { equal(reader_.boolean(), value); }
  void integer(std::int64_t value) { equal(reader_.integer(), value); }
  void unsigned_integer(std::uint64_t value) { equal(reader_.unsigned_integer(), value); }
  void real(double value) {
    const auto got = reader_.real();
    FERRY_CHECK(got);
    FERRY_CHECK(std::bit_cast<std::uint64_t>(*got) == std::bit_cast<std::uint64_t>(value));
  }
  void real32(float value) {  // a NaN may change its payload when it is widened
    const auto got = reader_.real();
    FERRY_CHECK(got);
    FERRY_CHECK(std::isnan(value) == std::isnan(*got));
    FERRY_CHECK(std::signbit(value) == std::signbit(*got));
    if (!std::isnan(value)) FERRY_CHECK(*got == static_cast<double>(value));
  }
  void string(std::string_view value) { equal(reader_.string(), value); }
  void binary(std::span<const std::byte> value) {
    const auto got = reader_.binary();
    FERRY_CHECK(got);
    FERRY_CHECK(same_bytes(*got, value));
  }
  void array(std::uint32_t count) { equal(reader_.array(), count); }
  void map(std::uint32_t count) { equal(reader_.map(), count); }

 private:
  template <class T>
  static void equal(const result<T>& got, const T& value) {
    FERRY_CHECK(got);
    FERRY_CHECK(*got == value);
  }
  value_reader& reader_;
};

template <class Visitor>
std::size_t visit_all(fuzz_input choices, Visitor& visitor) {
  std::size_t values = 0;
  for (; !choices.empty(); ++values) visit_value(choices, visitor, 0);
  return values;
}

void run(fuzz_input input) {
  std::array<std::byte, 64> buffer;
  value_writer small(std::span<std::byte>(buffer).first(input.below(buffer.size() + 1)));
  value_writer large;
  const fuzz_input choices = input;
  visit_all(choices, small);
  const std::size_t values = visit_all(choices, large);
  FERRY_CHECK(same_bytes(small.bytes(), large.bytes()));

  value_reader reader(small.bytes());
  comparison compare(reader);
  visit_all(choices, compare);
  FERRY_CHECK(reader.at_end());
  value_reader skipper(small.bytes());
  for (std::size_t i = 0; i < values; ++i) FERRY_CHECK(skipper.skip());
  FERRY_CHECK(skipper.at_end());

  small.clear();
  FERRY_CHECK(small.bytes().empty());
  visit_all(choices, small);
  FERRY_CHECK(same_bytes(small.bytes(), large.bytes()));
}

}  // namespace
}  // namespace ferry

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes) {
  ferry::run(ferry::fuzz_input(data, size_bytes));
  return 0;
}
