#include "engine/codec/typed.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "tests/unit/codec/bytes.h"

namespace ferry {
namespace {

template <class T>
byte_vector encoded(const T& value) {
  value_writer writer;
  encode(writer, value);
  return copy_of(writer.bytes());
}

// The value comes back, nothing trails, and no shorter input is taken for it.
template <class T>
void expect_round_trip(const T& value) {
  const byte_vector whole = encoded(value);
  const auto back = decode<T>(whole);
  ASSERT_TRUE(back) << back.error().what;
  EXPECT_EQ(*back, value);
  const std::size_t step = whole.size() < 1000 ? 1 : whole.size() / 50;
  for (std::size_t size_bytes = 0; size_bytes < whole.size(); size_bytes += step) {
    const byte_vector cut = copy_of(std::span(whole).first(size_bytes));
    EXPECT_FALSE(decode<T>(cut)) << size_bytes << " of " << whole.size();
  }
}

template <class T>
const char* refusal(const byte_vector& input) {
  const auto value = decode<T>(input);
  if (value) return "accepted";
  EXPECT_EQ(value.error().code, errc::invalid_params);
  return value.error().what;
}

template <class T>
void expect_extremes_round_trip() {
  for (const T value : {std::numeric_limits<T>::min(), static_cast<T>(-1), T{0}, T{1},
                        std::numeric_limits<T>::max()}) {
    expect_round_trip(value);
  }
}

TEST(typed, integers_of_every_width_come_back_at_their_extremes) {
  expect_extremes_round_trip<char>();
  expect_extremes_round_trip<signed char>();
  expect_extremes_round_trip<unsigned char>();
  expect_extremes_round_trip<short>();
  expect_extremes_round_trip<unsigned short>();
  expect_extremes_round_trip<int>();
  expect_extremes_round_trip<unsigned>();
  expect_extremes_round_trip<long>();
  expect_extremes_round_trip<unsigned long>();
  expect_extremes_round_trip<long long>();
  expect_extremes_round_trip<unsigned long long>();
  expect_extremes_round_trip<char16_t>();
  expect_round_trip(true);
  expect_round_trip(false);
}

TEST(typed, an_integer_one_past_its_type_is_refused) {
  EXPECT_STREQ(refusal<std::int8_t>(encoded(128)), "integer out of range");
  EXPECT_STREQ(refusal<std::int8_t>(encoded(-129)), "integer out of range");
  EXPECT_STREQ(refusal<std::uint8_t>(encoded(256)), "integer out of range");
  EXPECT_STREQ(refusal<std::uint8_t>(encoded(-1)), "integer out of range");
  EXPECT_STREQ(refusal<int>(encoded(std::int64_t{INT32_MAX} + 1)), "integer out of range");
  EXPECT_STREQ(refusal<int>(encoded(std::int64_t{INT32_MIN} - 1)), "integer out of range");
  EXPECT_STREQ(refusal<std::uint32_t>(encoded(std::uint64_t{1} << 32)), "integer out of range");
  EXPECT_STREQ(refusal<std::int64_t>(encoded(std::uint64_t{1} << 63)), "integer out of range");
  EXPECT_STREQ(refusal<std::uint64_t>(encoded(INT64_MIN)), "integer out of range");
}

TEST(typed, reals_keep_signs_and_what_is_no_number) {
  for (const double value :
       {0.0, 1.0, -1.5, 0.1, std::numeric_limits<double>::max(),
        std::numeric_limits<double>::denorm_min(), std::numeric_limits<double>::infinity(),
        -std::numeric_limits<double>::infinity(), std::ldexp(1.0, 64)}) {
    expect_round_trip(value);
    if (static_cast<double>(static_cast<float>(value)) == value) {
      expect_round_trip(static_cast<float>(value));
    }
  }
  EXPECT_TRUE(std::signbit(*decode<double>(encoded(-0.0))));
  EXPECT_TRUE(std::signbit(*decode<float>(encoded(-0.0f))));
  const auto odd_nan = std::bit_cast<double>(std::uint64_t{0xfff8'dead'beef'0001});
  EXPECT_EQ(std::bit_cast<std::uint64_t>(*decode<double>(encoded(odd_nan))),
            std::bit_cast<std::uint64_t>(odd_nan));
  EXPECT_TRUE(std::isnan(*decode<float>(encoded(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_TRUE(std::isnan(*decode<float>(encoded(std::nan("")))));
}

TEST(typed, a_real_takes_other_numbers_that_it_can_hold) {
  EXPECT_EQ(*decode<double>(encoded(7)), 7.0);
  EXPECT_EQ(*decode<double>(encoded(1.5f)), 1.5);
  EXPECT_EQ(*decode<float>(encoded(0.1)), 0.1f);  // rounded: many languages know only doubles
  EXPECT_EQ(*decode<float>(encoded(1 << 24)), 16777216.0f);
  EXPECT_STREQ(refusal<float>(encoded((1 << 24) + 1)), "integer that no real holds exactly");
  EXPECT_STREQ(refusal<double>(encoded(UINT64_MAX)), "integer that no real holds exactly");
  EXPECT_STREQ(refusal<float>(encoded(1e39)), "real out of range");
  EXPECT_EQ(*decode<float>(encoded(std::numeric_limits<double>::infinity())),
            std::numeric_limits<float>::infinity());
  EXPECT_STREQ(refusal<int>(encoded(1.0)), "expected an integer");  // never the other way
}

TEST(typed, strings_and_binaries_come_back_at_every_head_length) {
  for (const std::size_t length : {0u, 1u, 31u, 32u, 255u, 256u, 65535u, 65536u}) {
    expect_round_trip(std::string(length, 'x'));
    expect_round_trip(byte_vector(length, std::byte{7}));
    expect_round_trip(std::vector<std::uint8_t>(length, 9));
  }
  expect_round_trip(std::string("with\0zero", 9));
  expect_round_trip(std::array<std::byte, 3>{});
  EXPECT_EQ(encoded("literal"), encoded(std::string("literal")));
  EXPECT_EQ(encoded(static_cast<const char*>("pointer")), encoded(std::string_view("pointer")));
  byte_vector data = bytes({1, 2});
  EXPECT_EQ(encoded(std::span<std::byte>(data)), encoded(std::span<const std::byte>(data)));
  EXPECT_STREQ((refusal<std::array<std::byte, 3>>(encoded(data))), "binary of another length");
}

TEST(typed, views_point_into_the_input) {
  const byte_vector text = encoded("seen");
  const auto view = decode<std::string_view>(text);
  ASSERT_TRUE(view);
  EXPECT_EQ(static_cast<const void*>(view->data()), text.data() + 1);
  const byte_vector data = encoded(bytes({1, 2, 3}));
  const auto span = decode<std::span<const std::byte>>(data);
  ASSERT_TRUE(span);
  EXPECT_EQ(span->data(), data.data() + 2);
}

enum class colour : std::uint8_t { red = 1, green = 2 };
enum plain_enum { first_value = -3 };

TEST(typed, enums_travel_as_their_underlying_number) {
  expect_round_trip(colour::green);
  expect_round_trip(first_value);
  EXPECT_EQ(encoded(colour::green), encoded(2));
  EXPECT_STREQ(refusal<colour>(encoded(256)), "integer out of range");
}

TEST(typed, containers_come_back_empty_full_and_nested) {
  expect_round_trip(std::vector<int>{});
  expect_round_trip(std::vector<int>(65535, -1));
  expect_round_trip(std::vector<int>(65536, -1));
  expect_round_trip(std::vector<bool>{true, false, true});
  expect_round_trip(std::vector<std::vector<std::string>>{{}, {"a", ""}, {std::string(40, 'b')}});
  expect_round_trip(std::array<int, 0>{});
  expect_round_trip(std::array<std::string, 2>{"x", "y"});
  expect_round_trip(std::pair<int, std::string>{1, "one"});
  expect_round_trip(std::tuple<>{});
  expect_round_trip(std::tuple<int, double, std::vector<bool>>{1, 2.5, {true}});
  expect_round_trip(std::optional<int>{});
  expect_round_trip(std::optional<int>{5});
  expect_round_trip(std::vector<std::optional<std::string>>{{}, "x", {}});
  expect_round_trip(std::map<std::string, int>{});
  expect_round_trip(std::map<std::string, std::vector<int>>{{"", {}}, {"b", {1, 2}}});
  expect_round_trip(std::map<int, bool>{{-1, true}, {300, false}});
  expect_round_trip(std::unordered_map<std::string, double>{{"x", 0.5}, {"y", -0.5}});
}

TEST(typed, a_fixed_length_is_exact) {
  const byte_vector three = encoded(std::vector<int>{1, 2, 3});
  EXPECT_STREQ((refusal<std::array<int, 2>>(three)), "array of another length");
  EXPECT_STREQ((refusal<std::array<int, 4>>(three)), "array of another length");
  EXPECT_STREQ((refusal<std::pair<int, int>>(three)), "pair of another length");
  EXPECT_STREQ((refusal<std::tuple<int>>(three)), "tuple of another length");
  EXPECT_STREQ((refusal<std::tuple<>>(three)), "tuple of another length");
  EXPECT_EQ((decode<std::array<int, 4>>(three).error().wanted), 3u);
  EXPECT_EQ((decode<std::array<int, 4>>(three).error().allowed), 4u);
}

TEST(typed, a_key_that_comes_twice_is_refused) {
  const auto twice = bytes({0x82, 0xa1, 'k', 1, 0xa1, 'k', 2});
  EXPECT_STREQ((refusal<std::map<std::string, int>>(twice)), "key repeated in a map");
  EXPECT_STREQ((refusal<std::unordered_map<std::string, int>>(twice)), "key repeated in a map");
}

TEST(typed, each_wrong_type_is_refused) {
  const byte_vector nil = bytes({0xc0}), number = encoded(1), text = encoded("x"),
                    list = encoded(std::vector<int>{1}), data = encoded(bytes({1}));
  EXPECT_STREQ(refusal<bool>(number), "expected a boolean");
  EXPECT_STREQ(refusal<int>(nil), "expected an integer");
  EXPECT_STREQ(refusal<int>(encoded(true)), "expected an integer");
  EXPECT_STREQ(refusal<colour>(text), "expected an integer");
  EXPECT_STREQ(refusal<double>(text), "expected a number");
  EXPECT_STREQ(refusal<float>(nil), "expected a number");
  EXPECT_STREQ(refusal<std::string>(data), "expected a string");
  EXPECT_STREQ(refusal<std::string_view>(number), "expected a string");
  EXPECT_STREQ(refusal<byte_vector>(text), "expected binary");
  EXPECT_STREQ(refusal<std::span<const std::byte>>(list), "expected binary");
  EXPECT_STREQ(refusal<std::vector<int>>(data), "expected an array");
  EXPECT_STREQ(refusal<std::vector<int>>(encoded(std::map<int, int>{})), "expected an array");
  EXPECT_STREQ((refusal<std::map<std::string, int>>(list)), "expected a map");
  EXPECT_STREQ(refusal<std::optional<int>>(text), "expected an integer");
  EXPECT_STREQ(refusal<std::vector<int>>(encoded(std::vector<std::string>{"x"})),
               "expected an integer");
}

struct point {
  int x = 0, y = 0;
  bool operator==(const point&) const = default;
  static auto ferry_fields(auto& self) { return std::tie(self.x, self.y); }
};

class path {  // private fields, a struct inside a struct, and all in one namespace with point
 public:
  path() = default;
  path(std::string name, std::vector<point> points)
      : name_(std::move(name)), points_(std::move(points)) {}
  bool operator==(const path&) const = default;
  static auto ferry_fields(auto& self) { return std::tie(self.name_, self.points_); }

 private:
  std::string name_;
  std::vector<point> points_;
};

struct nothing {
  bool operator==(const nothing&) const = default;
  static auto ferry_fields(auto&) { return std::tie(); }
};

TEST(typed, a_struct_travels_as_an_array_of_its_fields) {
  EXPECT_EQ(encoded(point{1, -1}), bytes({0x92, 0x01, 0xff}));
  expect_round_trip(point{INT32_MIN, INT32_MAX});
  expect_round_trip(path("home", {{1, 2}, {3, 4}}));
  expect_round_trip(nothing{});
  expect_round_trip(std::map<std::string, point>{{"a", {1, 2}}});
}

TEST(typed, a_struct_skips_later_fields_and_misses_none) {
  EXPECT_EQ(*decode<point>(bytes({0x95, 1, 2, 0x92, 3, 0xc0, 0xa1, 'x', 0xd4, 1, 1})),
            (point{1, 2}));
  EXPECT_EQ(*decode<nothing>(bytes({0x91, 1})), nothing{});
  EXPECT_STREQ(refusal<point>(bytes({0x93, 1, 2, 0xc1})), "reserved type byte 0xc1");
  const auto missing = decode<point>(bytes({0x91, 1}));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message(),
            "invalid params: fewer fields than the struct has (wanted 1, allowed 2)");
  EXPECT_STREQ(refusal<point>(bytes({0x80})), "expected an array");
}

struct tree {
  std::vector<tree> children;
  static auto ferry_fields(auto& self) { return std::tie(self.children); }
};

TEST(typed, a_type_that_contains_itself_is_bounded_by_the_reader) {
  byte_vector input;  // each tree opens two arrays: its fields and its children
  for (std::size_t i = 0; i < max_value_depth; ++i) input.push_back(std::byte{0x91});
  byte_vector deepest = input;
  deepest.back() = std::byte{0x90};
  EXPECT_TRUE(decode<tree>(deepest));
  input.push_back(std::byte{0x90});
  EXPECT_STREQ(refusal<tree>(input), "nesting deeper than 64");
  byte_vector long_chain(1'000'000, std::byte{0x91});
  EXPECT_STREQ(refusal<tree>(long_chain), "nesting deeper than 64");
}

TEST(typed, many_promises_are_refused_together) {
  // Nested arrays that each promise all the bytes behind them, as if 30 times the input were there.
  byte_vector input;
  for (int i = 0; i < 30; ++i) {
    for (const std::byte each : bytes({0xdd, 0x00, 0x00, 0x03, 0x00})) input.push_back(each);
  }
  input.resize(1000, std::byte{0x90});
  EXPECT_STREQ(refusal<tree>(input), "array longer than the input");
}

TEST(typed, one_whole_value_has_nothing_behind_it) {
  EXPECT_STREQ(refusal<int>(bytes({1, 2})), "bytes after the value");
  const auto two = bytes({1, 2});
  value_reader reader(two);
  EXPECT_EQ(*decode<int>(reader), 1);
  EXPECT_EQ(*decode<int>(reader), 2);
  EXPECT_TRUE(reader.at_end());
}

TEST(typed_args, arguments_come_back_as_the_function_declares_them) {
  value_writer writer;
  encode_args(writer, 3, "text", std::vector<double>{1, 2.5}, point{4, 5});
  const auto args =
      decode_args<std::tuple<long, const std::string&, const std::vector<double>&, point&&>>(
          writer.bytes());
  ASSERT_TRUE(args) << args.error().what;
  static_assert(std::is_same_v<std::remove_cvref_t<decltype(*args)>,
                               std::tuple<long, std::string, std::vector<double>, point>>);
  EXPECT_EQ(*args, std::tuple(3L, std::string("text"), std::vector<double>{1, 2.5}, point{4, 5}));
}

TEST(typed_args, no_arguments_are_an_empty_array) {
  value_writer writer;
  encode_args(writer);
  EXPECT_EQ(copy_of(writer.bytes()), bytes({0x90}));
  EXPECT_TRUE(decode_args<std::tuple<>>(writer.bytes()));
  EXPECT_STREQ(decode_args<std::tuple<>>({}).error().what, "truncated value");
}

TEST(typed_args, the_count_must_be_the_functions) {
  using two = std::tuple<int, int>;
  const auto more = decode_args<two>(bytes({0x93, 1, 2, 3}));
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().message(),
            "invalid params: wrong number of arguments (wanted 3, allowed 2)");
  const auto fewer = decode_args<two>(bytes({0x91, 1}));
  ASSERT_FALSE(fewer);
  EXPECT_EQ(fewer.error().wanted, 1u);
  EXPECT_EQ(fewer.error().allowed, 2u);
  EXPECT_STREQ(decode_args<two>(bytes({0x92, 1, 2, 3})).error().what, "bytes after the arguments");
  EXPECT_STREQ(decode_args<two>(bytes({0x92, 1, 0xc0})).error().what, "expected an integer");
  EXPECT_STREQ(decode_args<two>(bytes({1, 2})).error().what, "expected an array");
}

TEST(typed_args, every_truncation_is_refused) {
  value_writer writer;
  encode_args(writer, path("somewhere", {{1, 2}, {70000, -70000}}), std::optional<int>{},
              std::map<std::string, double>{{"pi", 3.14}});
  using args = std::tuple<path, std::optional<int>, std::map<std::string, double>>;
  const auto whole = writer.bytes();
  ASSERT_TRUE(decode_args<args>(whole));
  for (std::size_t size_bytes = 0; size_bytes < whole.size(); ++size_bytes) {
    const byte_vector cut = copy_of(whole.first(size_bytes));
    EXPECT_FALSE(decode_args<args>(cut)) << size_bytes;
  }
}

struct no_codec {};
static_assert(codec::has_codec<tree> && !codec::has_codec<no_codec>);
static_assert(!codec::has_codec<int*> && !codec::has_codec<long double>);
static_assert(!codec::has_codec<std::optional<std::optional<int>>>);
static_assert(!codec::has_codec<std::map<double, int>>);  // a NaN would break its order

TEST(typed_death, a_null_string_aborts) {
  value_writer writer;
  const char* null = nullptr;
  EXPECT_DEATH(encode(writer, null), "broken invariant");
}

}  // namespace
}  // namespace ferry
