#include "engine/codec/writer.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "tests/unit/codec/bytes.h"

namespace ferry {
namespace {

template <class Write>
byte_vector written(Write write) {
  value_writer writer;
  write(writer);
  return copy_of(writer.bytes());
}

byte_vector integer(std::int64_t value) {
  return written([&](value_writer& to) { to.integer(value); });
}

TEST(value_writer, uses_the_shortest_integer_form) {
  EXPECT_EQ(integer(0), bytes({0x00}));
  EXPECT_EQ(integer(127), bytes({0x7f}));
  EXPECT_EQ(integer(128), bytes({0xcc, 0x80}));
  EXPECT_EQ(integer(256), bytes({0xcd, 0x01, 0x00}));
  EXPECT_EQ(integer(65536), bytes({0xce, 0x00, 0x01, 0x00, 0x00}));
  EXPECT_EQ(integer(std::int64_t{1} << 32), bytes({0xcf, 0, 0, 0, 1, 0, 0, 0, 0}));
  EXPECT_EQ(integer(-1), bytes({0xff}));
  EXPECT_EQ(integer(-32), bytes({0xe0}));
  EXPECT_EQ(integer(-33), bytes({0xd0, 0xdf}));
  EXPECT_EQ(integer(-129), bytes({0xd1, 0xff, 0x7f}));
  EXPECT_EQ(integer(-32769), bytes({0xd2, 0xff, 0xff, 0x7f, 0xff}));
  EXPECT_EQ(integer(INT64_MIN), bytes({0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(written([](value_writer& to) { to.unsigned_integer(UINT64_MAX); }),
            bytes({0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}));
}

TEST(value_writer, writes_an_unsigned_number_as_the_same_bytes_as_a_signed_one) {
  for (const std::int64_t value : {0L, 127L, 128L, 255L, 256L, 65535L, 65536L, INT64_MAX}) {
    EXPECT_EQ(
        written([&](value_writer& to) { to.unsigned_integer(static_cast<std::uint64_t>(value)); }),
        integer(value));
  }
}

TEST(value_writer, keeps_a_whole_real_a_real) {
  EXPECT_EQ(written([](value_writer& to) { to.real(1.0); }),
            bytes({0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(written([](value_writer& to) { to.real(-0.0); }),
            bytes({0xcb, 0x80, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(written([](value_writer& to) { to.real(std::ldexp(1.0, 64)); }),
            bytes({0xcb, 0x43, 0xf0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(written([](value_writer& to) { to.real32(1.0f); }), bytes({0xca, 0x3f, 0x80, 0, 0}));
}

TEST(value_writer, uses_the_shortest_head_for_each_length) {
  const auto head = [](auto write, std::size_t size_bytes) {
    auto all = written(write);
    all.resize(size_bytes);
    return all;
  };
  const auto string_of = [](std::size_t length) {
    return [text = std::string(length, 'x')](value_writer& to) { to.string(text); };
  };
  const auto binary_of = [](std::size_t length) {
    return [data = byte_vector(length)](value_writer& to) { to.binary(data); };
  };
  EXPECT_EQ(head(string_of(0), 1), bytes({0xa0}));
  EXPECT_EQ(head(string_of(31), 1), bytes({0xbf}));
  EXPECT_EQ(head(string_of(32), 2), bytes({0xd9, 32}));
  EXPECT_EQ(head(string_of(256), 3), bytes({0xda, 1, 0}));
  EXPECT_EQ(head(string_of(65535), 3), bytes({0xda, 0xff, 0xff}));
  EXPECT_EQ(head(string_of(65536), 5), bytes({0xdb, 0, 1, 0, 0}));
  EXPECT_EQ(head(binary_of(0), 2), bytes({0xc4, 0}));
  EXPECT_EQ(head(binary_of(65535), 3), bytes({0xc5, 0xff, 0xff}));
  EXPECT_EQ(head(binary_of(65536), 5), bytes({0xc6, 0, 1, 0, 0}));
  EXPECT_EQ(written([](value_writer& to) { to.array(15); }), bytes({0x9f}));
  EXPECT_EQ(written([](value_writer& to) { to.array(16); }), bytes({0xdc, 0, 16}));
  EXPECT_EQ(written([](value_writer& to) { to.array(UINT32_MAX); }),
            bytes({0xdd, 0xff, 0xff, 0xff, 0xff}));
  EXPECT_EQ(written([](value_writer& to) { to.map(15); }), bytes({0x8f}));
  EXPECT_EQ(written([](value_writer& to) { to.map(65536); }), bytes({0xdf, 0, 1, 0, 0}));
}

TEST(value_writer, writes_nil_and_both_booleans) {
  EXPECT_EQ(written([](value_writer& to) { to.nil(); }), bytes({0xc0}));
  EXPECT_EQ(written([](value_writer& to) { to.boolean(false); }), bytes({0xc2}));
  EXPECT_EQ(written([](value_writer& to) { to.boolean(true); }), bytes({0xc3}));
}

TEST(value_writer, stays_in_the_small_buffer_up_to_its_last_byte) {
  std::array<std::byte, 4> small;
  value_writer writer(small);
  writer.array(3);
  writer.integer(1);
  writer.integer(2);
  writer.integer(3);
  EXPECT_FALSE(writer.spilled());
  EXPECT_EQ(writer.bytes().data(), small.data());
  EXPECT_EQ(copy_of(writer.bytes()), bytes({0x93, 1, 2, 3}));
}

TEST(value_writer, spills_wherever_the_small_buffer_ends) {
  const auto write_all = [](value_writer& to) {
    to.array(3);
    to.string("ferry");
    to.integer(70000);
    to.binary(byte_vector(40));
  };
  const byte_vector expected = written(write_all);
  for (std::size_t size_bytes = 0; size_bytes <= expected.size(); ++size_bytes) {
    byte_vector small(size_bytes);
    value_writer writer(small);
    write_all(writer);
    EXPECT_EQ(copy_of(writer.bytes()), expected) << "small buffer of " << size_bytes;
    EXPECT_EQ(writer.spilled(), size_bytes < expected.size());
  }
}

TEST(value_writer, starts_again_in_the_small_buffer_after_clear) {
  std::array<std::byte, 2> small;
  value_writer writer(small);
  writer.string("too long");
  ASSERT_TRUE(writer.spilled());
  writer.clear();
  EXPECT_TRUE(writer.bytes().empty());
  writer.boolean(true);
  EXPECT_FALSE(writer.spilled());
  EXPECT_EQ(copy_of(writer.bytes()), bytes({0xc3}));
}

TEST(value_writer_death, a_string_that_the_format_cannot_hold_aborts) {
  value_writer writer;
  const char letter = 'x';  // never read: the length is refused first
  EXPECT_DEATH(writer.string(std::string_view(&letter, std::size_t{1} << 32)), "broken invariant");
}

}  // namespace
}  // namespace ferry
