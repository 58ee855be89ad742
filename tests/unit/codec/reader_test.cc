#include "engine/codec/reader.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/codec/writer.h"
#include "tests/unit/codec/bytes.h"

namespace ferry {
namespace {

// Each value below in every form that the format has for it.
TEST(value_reader, reads_an_integer_in_every_form) {
  const std::vector<std::pair<byte_vector, std::int64_t>> forms = {
      {bytes({0x05}), 5},
      {bytes({0xcc, 5}), 5},
      {bytes({0xcd, 0, 5}), 5},
      {bytes({0xce, 0, 0, 0, 5}), 5},
      {bytes({0xcf, 0, 0, 0, 0, 0, 0, 0, 5}), 5},
      {bytes({0xd0, 5}), 5},
      {bytes({0xd1, 0, 5}), 5},
      {bytes({0xd2, 0, 0, 0, 5}), 5},
      {bytes({0xd3, 0, 0, 0, 0, 0, 0, 0, 5}), 5},
      {bytes({0xff}), -1},
      {bytes({0xe0}), -32},
      {bytes({0xd0, 0x80}), -128},
      {bytes({0xd1, 0xff, 0xff}), -1},
      {bytes({0xd2, 0x80, 0, 0, 0}), INT32_MIN},
      {bytes({0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0}), INT64_MIN},
  };
  for (const auto& [input, expected] : forms) {
    value_reader reader(input);
    const auto value = reader.integer();
    ASSERT_TRUE(value) << hex(input);
    EXPECT_EQ(*value, expected) << hex(input);
    EXPECT_TRUE(reader.at_end());
    value_reader again(input);
    EXPECT_EQ(again.unsigned_integer().has_value(), expected >= 0) << hex(input);
  }
}

TEST(value_reader, says_when_an_integer_is_on_the_other_side_of_zero_or_too_large) {
  const auto largest = bytes({0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff});
  value_reader reader(largest);
  EXPECT_STREQ(reader.integer().error().what, "integer out of range");
  EXPECT_EQ(*reader.unsigned_integer(), UINT64_MAX);
  const auto negative = bytes({0xff});
  value_reader below(negative);
  EXPECT_STREQ(below.unsigned_integer().error().what, "integer out of range");
  EXPECT_EQ(*below.integer(), -1);
}

TEST(value_reader, reads_an_integer_as_a_real_only_where_that_is_exact) {
  const auto real_of = [](auto write) {
    value_writer writer;
    write(writer);
    value_reader reader(writer.bytes());
    return reader.real();
  };
  const auto of_signed = [&](std::int64_t value) {
    return real_of([&](value_writer& to) { to.integer(value); });
  };
  const auto of_unsigned = [&](std::uint64_t value) {
    return real_of([&](value_writer& to) { to.unsigned_integer(value); });
  };
  constexpr std::int64_t exact_limit = std::int64_t{1} << 53;
  EXPECT_EQ(*of_signed(0), 0.0);
  EXPECT_EQ(*of_signed(-7), -7.0);
  EXPECT_EQ(*of_signed(exact_limit), 9007199254740992.0);
  EXPECT_FALSE(of_signed(exact_limit + 1));
  EXPECT_FALSE(of_signed(-exact_limit - 1));
  EXPECT_EQ(*of_signed(exact_limit + 2), 9007199254740994.0);
  EXPECT_EQ(*of_signed(INT64_MIN), -std::ldexp(1.0, 63));
  EXPECT_FALSE(of_signed(INT64_MAX));
  EXPECT_FALSE(of_unsigned(UINT64_MAX));
  EXPECT_EQ(*of_unsigned(std::uint64_t{1} << 63), std::ldexp(1.0, 63));
}

TEST(value_reader, reads_lengths_of_every_form) {
  const std::vector<byte_vector> strings = {
      bytes({0xa2, 'h', 'i'}),
      bytes({0xd9, 2, 'h', 'i'}),
      bytes({0xda, 0, 2, 'h', 'i'}),
      bytes({0xdb, 0, 0, 0, 2, 'h', 'i'}),
  };
  for (const auto& input : strings) {
    value_reader reader(input);
    const auto text = reader.string();
    ASSERT_TRUE(text) << hex(input);
    EXPECT_EQ(*text, "hi");
    EXPECT_EQ(static_cast<const void*>(text->data()), input.data() + input.size() - 2);
    EXPECT_TRUE(reader.at_end());
  }
  const std::vector<byte_vector> binaries = {
      bytes({0xc4, 2, 7, 8}),
      bytes({0xc5, 0, 2, 7, 8}),
      bytes({0xc6, 0, 0, 0, 2, 7, 8}),
  };
  for (const auto& input : binaries) {
    value_reader reader(input);
    const auto data = reader.binary();
    ASSERT_TRUE(data) << hex(input);
    EXPECT_EQ(copy_of(*data), bytes({7, 8}));
    EXPECT_EQ(data->data(), input.data() + input.size() - 2);
  }
  for (const auto& input :
       {bytes({0x92, 1, 2}), bytes({0xdc, 0, 2, 1, 2}), bytes({0xdd, 0, 0, 0, 2, 1, 2})}) {
    value_reader reader(input);
    EXPECT_EQ(*reader.array(), 2u) << hex(input);
    EXPECT_EQ(*reader.integer(), 1);
    EXPECT_EQ(*reader.integer(), 2);
    EXPECT_TRUE(reader.at_end());
  }
  for (const auto& input :
       {bytes({0x81, 1, 2}), bytes({0xde, 0, 1, 1, 2}), bytes({0xdf, 0, 0, 0, 1, 1, 2})}) {
    value_reader reader(input);
    EXPECT_EQ(*reader.map(), 1u) << hex(input);
    EXPECT_TRUE(reader.skip());
    EXPECT_TRUE(reader.skip());
    EXPECT_TRUE(reader.at_end());
  }
}

TEST(value_reader, skips_extensions_of_every_form_and_never_reads_them) {
  const std::vector<byte_vector> forms = {
      with_payload({0xd4, 1}, 1, 9),       with_payload({0xd5, 1}, 2, 9),
      with_payload({0xd6, 1}, 4, 9),       with_payload({0xd7, 1}, 8, 9),
      with_payload({0xd8, 1}, 16, 9),      with_payload({0xc7, 3, 1}, 3, 9),
      with_payload({0xc8, 0, 3, 1}, 3, 9), with_payload({0xc9, 0, 0, 0, 3, 1}, 3, 9),
      with_payload({0xc7, 0, 1}, 0, 9),
  };
  for (const auto& input : forms) {
    value_reader reader(input);
    EXPECT_EQ(*reader.peek(), value_kind::extension);
    EXPECT_FALSE(reader.binary());
    EXPECT_TRUE(reader.skip()) << hex(input);
    EXPECT_TRUE(reader.at_end()) << hex(input);
    for (std::size_t size_bytes = 0; size_bytes < input.size(); ++size_bytes) {
      value_reader cut{std::span(input).first(size_bytes)};
      EXPECT_STREQ(cut.skip().error().what, "truncated value") << hex(input) << size_bytes;
    }
  }
}

TEST(value_reader, refuses_each_wrong_type_and_stays_where_it_is) {
  const std::vector<std::pair<value_kind, byte_vector>> values = {
      {value_kind::nil, bytes({0xc0})},
      {value_kind::boolean, bytes({0xc3})},
      {value_kind::integer, bytes({0x07})},
      {value_kind::real, bytes({0xca, 0x3f, 0x80, 0, 0})},
      {value_kind::string, bytes({0xa1, 'x'})},
      {value_kind::binary, bytes({0xc4, 1, 9})},
      {value_kind::array, bytes({0x91, 1})},
      {value_kind::map, bytes({0x81, 1, 2})},
      {value_kind::extension, bytes({0xd4, 1, 1})},
  };
  for (const auto& [kind, input] : values) {
    value_reader reader(input);
    EXPECT_EQ(*reader.peek(), kind);
    const auto refuses = [&](const auto& outcome, const char* what) {
      ASSERT_FALSE(outcome) << hex(input) << what;
      EXPECT_EQ(outcome.error().code, errc::invalid_params);
      EXPECT_STREQ(outcome.error().what, what);
      EXPECT_EQ(reader.position(), 0u);
    };
    if (kind != value_kind::nil) refuses(reader.nil(), "expected nil");
    if (kind != value_kind::boolean) refuses(reader.boolean(), "expected a boolean");
    if (kind != value_kind::integer) {
      refuses(reader.integer(), "expected an integer");
      refuses(reader.unsigned_integer(), "expected an integer");
      if (kind != value_kind::real) refuses(reader.real(), "expected a number");
    }
    if (kind != value_kind::string) refuses(reader.string(), "expected a string");
    if (kind != value_kind::binary) refuses(reader.binary(), "expected binary");
    if (kind != value_kind::array) refuses(reader.array(), "expected an array");
    if (kind != value_kind::map) refuses(reader.map(), "expected a map");
    EXPECT_TRUE(reader.skip());
    EXPECT_TRUE(reader.at_end());
  }
}

TEST(value_reader, refuses_the_reserved_byte_everywhere) {
  const auto reserved = bytes({0xc1});
  value_reader reader(reserved);
  EXPECT_STREQ(reader.peek().error().what, "reserved type byte 0xc1");
  EXPECT_FALSE(reader.nil());
  EXPECT_FALSE(reader.next_is_nil());
  EXPECT_FALSE(reader.skip());
  const auto inside = bytes({0x92, 0x01, 0xc1});
  value_reader outer(inside);
  EXPECT_STREQ(outer.skip().error().what, "reserved type byte 0xc1");
  EXPECT_EQ(outer.position(), 0u);
}

TEST(value_reader, finds_nothing_in_an_empty_input) {
  value_reader reader({});
  EXPECT_TRUE(reader.at_end());
  EXPECT_STREQ(reader.peek().error().what, "truncated value");
  EXPECT_STREQ(reader.integer().error().what, "truncated value");
  EXPECT_STREQ(reader.skip().error().what, "truncated value");
  EXPECT_FALSE(reader.next_is_nil());
}

TEST(value_reader, refuses_every_truncation_of_a_nested_value) {
  value_writer writer;
  writer.array(5);
  writer.map(2);
  writer.string("key");
  writer.array(2);
  writer.real(1.5);
  writer.integer(-70000);
  writer.string(std::string(300, 'x'));
  writer.nil();
  writer.binary(bytes({1, 2, 3}));
  writer.raw(bytes({0xd6, 1, 1, 2, 3, 4}));
  writer.array(0);
  writer.boolean(true);
  const auto whole = writer.bytes();
  value_reader reader(whole);
  ASSERT_TRUE(reader.skip());
  ASSERT_TRUE(reader.at_end());
  for (std::size_t size_bytes = 0; size_bytes < whole.size(); ++size_bytes) {
    const byte_vector cut = copy_of(whole.first(size_bytes));  // on its own, so overreads are seen
    value_reader cut_reader(cut);
    EXPECT_FALSE(cut_reader.skip()) << size_bytes;
    EXPECT_EQ(cut_reader.position(), 0u);
  }
}

TEST(value_reader, opens_64_containers_and_not_one_more) {
  byte_vector arrays, maps;
  for (std::size_t i = 0; i < max_value_depth; ++i) {
    arrays.push_back(std::byte{0x91});
    maps.push_back(std::byte{0x81});  // {true: {true: ...}}
    maps.push_back(std::byte{0xc3});
  }
  for (const auto& prefix : {arrays, maps}) {
    byte_vector deepest = prefix;
    deepest.push_back(std::byte{0x07});
    value_reader skipped(deepest);
    EXPECT_TRUE(skipped.skip());
    EXPECT_TRUE(skipped.at_end());
    for (const int innermost : {0x90, 0x80}) {  // even an empty one
      byte_vector deeper = prefix;
      deeper.push_back(static_cast<std::byte>(innermost));
      value_reader reader(deeper);
      EXPECT_STREQ(reader.skip().error().what, "nesting deeper than 64");
    }
  }
  arrays.push_back(std::byte{0x90});
  value_reader by_hand(arrays);
  for (std::size_t i = 0; i < max_value_depth; ++i) ASSERT_TRUE(by_hand.array());
  EXPECT_STREQ(by_hand.array().error().what, "nesting deeper than 64");
  EXPECT_STREQ(by_hand.skip().error().what, "nesting deeper than 64");
}

TEST(value_reader, leaves_a_container_with_its_last_value) {
  // 200 arrays one after another, each three deep: depth is about what is open, not what was.
  value_writer writer;
  writer.array(200);
  for (int i = 0; i < 200; ++i) writer.raw(bytes({0x91, 0x92, 0x90, 0x81, 1, 2}));
  value_reader reader(writer.bytes());
  EXPECT_EQ(*reader.array(), 200u);
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(*reader.array(), 1u);
    EXPECT_EQ(*reader.array(), 2u);
    EXPECT_EQ(*reader.array(), 0u);
    EXPECT_EQ(*reader.map(), 1u);
    EXPECT_EQ(*reader.integer(), 1);
    EXPECT_EQ(*reader.integer(), 2);
  }
  EXPECT_TRUE(reader.at_end());
}

TEST(value_reader, believes_a_count_only_while_the_input_is_long_enough) {
  const auto three = bytes({0x93, 1, 2, 3});
  value_reader exact(three);
  EXPECT_EQ(*exact.array(), 3u);
  value_reader short_of_one{std::span(three).first(3)};
  const auto refused = short_of_one.array();
  ASSERT_FALSE(refused);
  EXPECT_STREQ(refused.error().what, "array longer than the input");
  EXPECT_EQ(refused.error().wanted, 3u);
  EXPECT_EQ(refused.error().allowed, 2u);
  const auto odd = bytes({0x82, 1, 2, 3});  // two pairs need four values
  value_reader map(odd);
  EXPECT_STREQ(map.map().error().what, "map longer than the input");
  const auto huge = bytes({0xdf, 0xff, 0xff, 0xff, 0xff});
  value_reader map32(huge);
  EXPECT_STREQ(map32.map().error().what, "map longer than the input");
}

TEST(value_reader, adds_up_what_the_open_containers_promise) {
  // Both arrays alone would fit the six bytes; together they promise more values than there are.
  const auto input = bytes({0x93, 0x94, 1, 2, 3, 4, 5});
  value_reader reader(input);
  EXPECT_EQ(*reader.array(), 3u);
  EXPECT_FALSE(reader.array());
  const auto honest = bytes({0x93, 0x94, 1, 2, 3, 4, 5, 6});
  value_reader good(honest);
  EXPECT_EQ(*good.array(), 3u);
  EXPECT_EQ(*good.array(), 4u);
}

TEST(value_reader, skips_inside_a_container_and_recovers_from_a_failed_skip) {
  const auto input = bytes({0x93, 0x93, 1, 0xc1, 5, 6, 7});
  value_reader reader(input);
  EXPECT_EQ(*reader.array(), 3u);
  for (int i = 0; i < 100; ++i) {  // a trace of each failure would add up to another error
    EXPECT_STREQ(reader.skip().error().what, "reserved type byte 0xc1");
    EXPECT_EQ(reader.position(), 1u);
  }
  EXPECT_EQ(*reader.array(), 3u);  // the same value again, now step by step
  EXPECT_EQ(*reader.integer(), 1);
  EXPECT_FALSE(reader.skip());
  EXPECT_EQ(reader.position(), 3u);
}

}  // namespace
}  // namespace ferry
