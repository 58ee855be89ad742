// What the codec may take from the heap: nothing for small values, and nothing on a hostile word.
#include <gtest/gtest.h>

#include <array>
#include <tuple>

#include "engine/codec/typed.h"
#include "tests/unit/codec/allocation_count.h"
#include "tests/unit/codec/bytes.h"

namespace ferry {
namespace {

TEST(codec_allocation, a_call_of_two_integers_takes_nothing_from_the_heap) {
  int sum = 0;
  const std::size_t before = allocation_count();
  {
    std::array<std::byte, 64> small;
    value_writer writer(small);
    encode_args(writer, 40, 2);
    const auto args = decode_args<std::tuple<int, int>>(writer.bytes());
    if (args) sum = std::get<0>(*args) + std::get<1>(*args);
    value_writer reply(small);
    encode(reply, sum);
    sum = decode<int>(reply.bytes()).value_or(0);
  }
  const std::size_t after = allocation_count();
  EXPECT_EQ(sum, 42);
  EXPECT_EQ(after, before);
}

TEST(codec_allocation, views_and_short_strings_take_nothing_from_the_heap) {
  std::array<std::byte, 64> small;
  value_writer writer(small);
  const std::size_t before = allocation_count();
  encode_args(writer, "a literal", 1.5, true);
  const auto args = decode_args<std::tuple<std::string_view, double, bool>>(writer.bytes());
  const auto copied = decode_args<std::tuple<const std::string&, double, bool>>(writer.bytes());
  const std::size_t after = allocation_count();
  ASSERT_TRUE(args);
  EXPECT_EQ(std::get<0>(*args), "a literal");
  ASSERT_TRUE(copied);
  EXPECT_EQ(std::get<0>(*copied), "a literal");
  EXPECT_EQ(after, before);
}

TEST(codec_allocation, a_writer_that_is_used_again_stops_allocating) {
  value_writer writer;
  writer.binary(byte_vector(1000));
  const byte_vector again(900);
  writer.clear();
  const std::size_t before = allocation_count();
  writer.binary(again);
  EXPECT_EQ(allocation_count(), before);
  EXPECT_EQ(writer.bytes().size(), 903u);
}

TEST(codec_allocation, a_count_beyond_the_input_is_refused_before_anything_is_reserved) {
  const auto array32 = bytes({0xdd, 0xff, 0xff, 0xff, 0xff});
  const auto array16 = bytes({0xdc, 0xff, 0xff});
  const auto map32 = bytes({0xdf, 0xff, 0xff, 0xff, 0xff});
  const auto string32 = bytes({0xdb, 0xff, 0xff, 0xff, 0xff});
  const auto binary32 = bytes({0xc6, 0xff, 0xff, 0xff, 0xff});
  const std::size_t before = allocation_count();
  const bool accepted =
      decode<std::vector<double>>(array32) || decode<std::vector<std::string>>(array16) ||
      decode<std::map<std::string, int>>(map32) || decode<std::unordered_map<int, int>>(map32) ||
      decode<std::string>(string32) || decode<byte_vector>(binary32);
  const std::size_t after = allocation_count();
  EXPECT_FALSE(accepted);
  EXPECT_EQ(after, before);
}

TEST(codec_allocation, a_plausible_count_reserves_no_more_than_the_limit) {
  using wide = std::array<double, 1024>;
  // A million promised, with bytes enough to be believed; the first one already is wrong.
  const auto input = with_payload({0xdd, 0x00, 0x0f, 0x42, 0x40}, 1'000'000, 0xc3);
  forget_largest_allocation();
  EXPECT_FALSE(decode<std::vector<wide>>(input));
  EXPECT_LE(largest_allocation_bytes(), codec::reserve_ahead_bytes + sizeof(wide));
}

}  // namespace
}  // namespace ferry
