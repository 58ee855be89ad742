// Decodes    bytes as values of C++ types, and as the arguments of functions.
// Input      one byte that chooses the type; the rest is the MessagePack value.
// Property   what is decoded encodes again to bytes that decode to the same value; they are one
//            value with nothing missing at its end and nothing after it. What is refused is refused
//            as invalid_params, with a reason.
#include <array>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "engine/codec/typed.h"
#include "tests/fuzz/fuzz.h"

namespace ferry {
namespace {

enum class colour : std::uint8_t { red = 1, green = 2 };

struct point {
  std::int32_t x = 0, y = 0;
  static auto ferry_fields(auto& self) { return std::tie(self.x, self.y); }
};

struct shape {
  std::string name;
  std::optional<colour> fill;
  std::vector<point> corners;
  std::map<std::string, double> measures;
  static auto ferry_fields(auto& self) {
    return std::tie(self.name, self.fill, self.corners, self.measures);
  }
};

struct tree {  // as deep as the reader allows
  std::int64_t value = 0;
  std::vector<tree> children;
  static auto ferry_fields(auto& self) { return std::tie(self.value, self.children); }
};

using bytes = std::vector<std::byte>;
using views = std::vector<std::pair<std::string_view, std::span<const std::byte>>>;
using numbers = std::tuple<bool, std::int8_t, std::uint16_t, std::int32_t, std::uint64_t, float,
                           double, std::array<std::int16_t, 3>>;
using deep_map = std::map<std::int32_t, std::map<std::string, std::vector<std::optional<bytes>>>>;
using hashed = std::unordered_map<std::string, std::pair<std::uint32_t, std::optional<bool>>>;
using enum_map = std::map<colour, std::array<std::byte, 4>>;
// As a function declares its parameters.
using some_arguments = std::tuple<const std::string&, std::int32_t, std::optional<point>>;
using view_arguments = std::tuple<std::string_view, const std::vector<double>&, bool>;
using no_arguments = std::tuple<>;

void well_refused(const error& why) {
  FERRY_CHECK(why.code == errc::invalid_params);
  FERRY_CHECK(why.what[0] != '\0');
}

// Bytes that are equal are values that are equal: the writer has one form for each value. An
// unordered map has one for each order, so those are compared as they are.
template <class T>
bool same(const T& one, const T& other, std::span<const std::byte> first) {
  if constexpr (std::is_same_v<T, hashed>) {
    return one == other;
  } else {
    value_writer writer;
    encode(writer, other);
    return same_bytes(first, writer.bytes());
  }
}

template <class Decode, class T>
void holds(Decode decode_all, const T& value, std::span<const std::byte> encoded) {
  const auto again = decode_all(encoded);
  FERRY_CHECK(again);
  FERRY_CHECK(same(value, *again, encoded));
  const auto cut = decode_all(encoded.first(encoded.size() - 1));
  FERRY_CHECK(!cut);
  well_refused(cut.error());
  bytes longer(encoded.begin(), encoded.end());
  longer.push_back(std::byte{0xc0});
  const auto extended = decode_all(longer);
  FERRY_CHECK(!extended);
  well_refused(extended.error());
}

template <class T>
void value_of(std::span<const std::byte> input) {
  const auto decode_all = [](std::span<const std::byte> from) { return decode<T>(from); };
  const auto value = decode_all(input);
  if (!value) return well_refused(value.error());
  value_writer writer;
  encode(writer, *value);
  holds(decode_all, *value, writer.bytes());
}

template <class Args>
void arguments_of(std::span<const std::byte> input) {
  const auto decode_all = [](std::span<const std::byte> from) { return decode_args<Args>(from); };
  const auto values = decode_all(input);
  if (!values) return well_refused(values.error());
  value_writer writer;
  std::apply([&](const auto&... each) { encode_args(writer, each...); }, *values);
  holds(decode_all, *values, writer.bytes());
}

constexpr void (*types[])(std::span<const std::byte>) = {
    value_of<shape>,
    value_of<tree>,
    value_of<numbers>,
    value_of<deep_map>,
    value_of<hashed>,
    value_of<enum_map>,
    value_of<views>,
    value_of<std::optional<std::vector<float>>>,
    arguments_of<some_arguments>,
    arguments_of<view_arguments>,
    arguments_of<no_arguments>,
};

}  // namespace
}  // namespace ferry

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes) {
  ferry::fuzz_input input(data, size_bytes);
  ferry::types[input.below(std::size(ferry::types))](input.rest());
  return 0;
}
