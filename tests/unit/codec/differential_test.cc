// The codec against msgpack-cxx: values that one writes the other reads, and both agree on which
// bytes are a value at all. A failure prints the seed; FERRY_TEST_SEED repeats it.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <msgpack.hpp>
#include <random>
#include <string>

#include "engine/codec/reader.h"
#include "engine/codec/writer.h"
#include "tests/unit/codec/bytes.h"

namespace ferry {
namespace {

class differential : public testing::Test {
 protected:
  differential() : trace_(__FILE__, __LINE__, "FERRY_TEST_SEED=" + std::to_string(seed_)) {
    std::printf("seed %lu\n", seed_);
  }

  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

  // Small and huge numbers alike: a random width first, then a random number of that width.
  std::uint64_t number() { return random_() >> below(64); }

  std::size_t length() {
    static constexpr std::size_t edges[] = {0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536};
    return below(50) == 0 ? edges[below(std::size(edges))] : below(40);
  }

  static std::uint64_t first_seed() {
    if (const char* text = std::getenv("FERRY_TEST_SEED")) return std::strtoull(text, nullptr, 10);
    return std::random_device{}();
  }

  std::uint64_t seed_ = first_seed();
  std::mt19937_64 random_{seed_};
  testing::ScopedTrace trace_;
};

// Writes each value with both.
class twin_writer {
 public:
  explicit twin_writer(value_writer& ours) : ours_(ours), packer_(theirs) {}

  void boolean(bool value) {
    ours_.boolean(value);
    value ? packer_.pack_true() : packer_.pack_false();
  }
  void nil() {
    ours_.nil();
    packer_.pack_nil();
  }
  void integer(std::int64_t value) {
    ours_.integer(value);
    packer_.pack_int64(value);
  }
  void unsigned_integer(std::uint64_t value) {
    ours_.unsigned_integer(value);
    packer_.pack_uint64(value);
  }
  void string(const std::string& value) {
    ours_.string(value);
    packer_.pack_str(static_cast<std::uint32_t>(value.size()));
    packer_.pack_str_body(value.data(), static_cast<std::uint32_t>(value.size()));
  }
  void binary(const std::string& value) {
    ours_.binary(std::as_bytes(std::span(value)));
    packer_.pack_bin(static_cast<std::uint32_t>(value.size()));
    packer_.pack_bin_body(value.data(), static_cast<std::uint32_t>(value.size()));
  }
  void array(std::uint32_t count) {
    ours_.array(count);
    packer_.pack_array(count);
  }
  void map(std::uint32_t count) {
    ours_.map(count);
    packer_.pack_map(count);
  }
  // Only for values that are not whole: msgpack-cxx would write those as integers.
  void real(double value) {
    ours_.real(value);
    packer_.pack_double(value);
  }
  void extension(const std::string& payload) {
    msgpack::sbuffer encoded;
    msgpack::packer<msgpack::sbuffer> packer(encoded);
    packer.pack_ext(payload.size(), 5);
    packer.pack_ext_body(payload.data(), static_cast<std::uint32_t>(payload.size()));
    ours_.raw(std::as_bytes(std::span(encoded.data(), encoded.size())));
    theirs.write(encoded.data(), encoded.size());
  }

  msgpack::sbuffer theirs;

 private:
  value_writer& ours_;
  msgpack::packer<msgpack::sbuffer> packer_;
};

// Reads one value with ours and compares it with what msgpack-cxx made of the same bytes.
void expect_same(value_reader& reader, const msgpack::object& expected) {
  switch (expected.type) {
    case msgpack::type::NIL: EXPECT_TRUE(reader.nil()); return;
    case msgpack::type::BOOLEAN: {
      const auto value = reader.boolean();
      ASSERT_TRUE(value);
      EXPECT_EQ(*value, expected.via.boolean);
      return;
    }
    case msgpack::type::POSITIVE_INTEGER: {
      const auto value = reader.unsigned_integer();
      ASSERT_TRUE(value);
      EXPECT_EQ(*value, expected.via.u64);
      return;
    }
    case msgpack::type::NEGATIVE_INTEGER: {
      const auto value = reader.integer();
      ASSERT_TRUE(value);
      EXPECT_EQ(*value, expected.via.i64);
      return;
    }
    case msgpack::type::FLOAT32:
    case msgpack::type::FLOAT64: {
      const auto value = reader.real();
      ASSERT_TRUE(value);
      if (std::isnan(expected.via.f64)) {
        EXPECT_TRUE(std::isnan(*value));
      } else {
        EXPECT_EQ(std::bit_cast<std::uint64_t>(*value),
                  std::bit_cast<std::uint64_t>(expected.via.f64));
      }
      return;
    }
    case msgpack::type::STR: {
      const auto value = reader.string();
      ASSERT_TRUE(value);
      EXPECT_EQ(*value, std::string_view(expected.via.str.ptr, expected.via.str.size));
      return;
    }
    case msgpack::type::BIN: {
      const auto value = reader.binary();
      ASSERT_TRUE(value);
      EXPECT_EQ(copy_of(*value),
                copy_of(std::as_bytes(std::span(expected.via.bin.ptr, expected.via.bin.size))));
      return;
    }
    case msgpack::type::EXT: {
      EXPECT_EQ(*reader.peek(), value_kind::extension);
      EXPECT_TRUE(reader.skip());
      return;
    }
    case msgpack::type::ARRAY: {
      const auto count = reader.array();
      ASSERT_TRUE(count);
      ASSERT_EQ(*count, expected.via.array.size);
      for (std::uint32_t i = 0; i < *count && !testing::Test::HasFailure(); ++i) {
        expect_same(reader, expected.via.array.ptr[i]);
      }
      return;
    }
    case msgpack::type::MAP: {
      const auto count = reader.map();
      ASSERT_TRUE(count);
      ASSERT_EQ(*count, expected.via.map.size);
      for (std::uint32_t i = 0; i < *count && !testing::Test::HasFailure(); ++i) {
        expect_same(reader, expected.via.map.ptr[i].key);
        expect_same(reader, expected.via.map.ptr[i].val);
      }
      return;
    }
  }
  FAIL() << "a type that msgpack-cxx should not have";
}

class differential_values : public differential {
 protected:
  // Wide containers count as several levels, so that values stay small enough to make many.
  void write_value(twin_writer& to, int depth) {
    switch (below(depth > 5 ? 8 : 10)) {
      case 0: to.nil(); return;
      case 1: to.boolean(below(2) == 0); return;
      case 2: to.integer(static_cast<std::int64_t>(number())); return;
      case 3: to.integer(-static_cast<std::int64_t>(number() >> 1)); return;
      case 4: to.unsigned_integer(number()); return;
      case 5: to.real(static_cast<double>(static_cast<std::int32_t>(number())) + 0.5); return;
      case 6: to.string(std::string(length(), 's')); return;
      case 7:
        if (below(2) == 0) {
          to.binary(std::string(length(), 'b'));
        } else {
          to.extension(std::string(1 + below(20), 'e'));
        }
        return;
      case 8: {
        const auto count = static_cast<std::uint32_t>(below(20));
        to.array(count);
        write_values(to, count, depth + 1 + static_cast<int>(count / 4));
        return;
      }
      default: {
        const auto count = static_cast<std::uint32_t>(below(18));
        to.map(count);
        write_values(to, 2 * count, depth + 1 + static_cast<int>(count / 4));
        return;
      }
    }
  }

  void write_values(twin_writer& to, std::uint32_t count, int depth) {
    for (std::uint32_t i = 0; i < count; ++i) write_value(to, depth);
  }
};

TEST_F(differential_values, both_write_the_same_bytes_and_read_the_same_values) {
  for (int i = 0; i < 5000 && !HasFailure(); ++i) {
    value_writer ours;
    twin_writer twin(ours);
    write_value(twin, 0);
    const auto theirs = std::as_bytes(std::span(twin.theirs.data(), twin.theirs.size()));
    ASSERT_EQ(copy_of(ours.bytes()), copy_of(theirs));

    const auto expected = msgpack::unpack(twin.theirs.data(), twin.theirs.size());
    value_reader reader(ours.bytes());
    expect_same(reader, expected.get());
    EXPECT_TRUE(reader.at_end());
    value_reader skipping(ours.bytes());
    EXPECT_TRUE(skipping.skip());
    EXPECT_TRUE(skipping.at_end());
  }
}

TEST_F(differential, msgpack_reads_our_reals_and_we_read_theirs) {
  for (int i = 0; i < 20000 && !HasFailure(); ++i) {
    const auto value = std::bit_cast<double>(random_());
    value_writer ours;
    ours.real(value);
    ours.real32(static_cast<float>(below(1000)) / 8);
    const auto* data = reinterpret_cast<const char*>(ours.bytes().data());
    std::size_t offset = 0;
    const auto wide = msgpack::unpack(data, ours.bytes().size(), offset);
    const auto narrow = msgpack::unpack(data, ours.bytes().size(), offset);
    EXPECT_EQ(wide->type, msgpack::type::FLOAT64);
    EXPECT_EQ(std::bit_cast<std::uint64_t>(wide->via.f64), std::bit_cast<std::uint64_t>(value));
    EXPECT_EQ(narrow->type, msgpack::type::FLOAT32);
    value_reader reader(ours.bytes());
    expect_same(reader, wide.get());
    expect_same(reader, narrow.get());

    // They turn whole reals into integers, and we take those back as reals.
    const double whole = std::floor(
        std::ldexp(1.0 + static_cast<double>(below(1 << 20)) / 3, static_cast<int>(below(40))));
    msgpack::sbuffer theirs;
    msgpack::pack(theirs, below(2) == 0 ? whole : -whole);
    value_reader back(std::as_bytes(std::span(theirs.data(), theirs.size())));
    const auto read = back.real();
    ASSERT_TRUE(read);
    EXPECT_EQ(std::abs(*read), whole);
  }
}

// What msgpack-cxx says: the size of the first value in `input`, or 0. Its limits are set to what
// is ours by design: the nesting, and no count above the input (it would reserve memory for it).
std::size_t their_size(std::span<const std::byte> input) {
  const std::size_t most = input.size();
  const msgpack::unpack_limit limit(most, most, most, most, most + 1, max_value_depth);
  try {
    std::size_t offset = 0;
    msgpack::unpack(reinterpret_cast<const char*>(input.data()), input.size(), offset, nullptr,
                    nullptr, limit);
    return offset;
  } catch (const msgpack::unpack_error&) {
    return 0;
  }
}

std::size_t our_size(std::span<const std::byte> input) {
  value_reader reader(input);
  return reader.skip() ? reader.position() : 0;
}

TEST_F(differential, both_agree_on_which_random_bytes_are_a_value) {
  int accepted = 0;
  for (int i = 0; i < 100000 && !HasFailure(); ++i) {
    byte_vector input(below(60));
    // Random types hardly ever nest, so half of the inputs are mostly small containers.
    const bool nesting = below(2) == 0;
    for (std::byte& each : input) {
      each = static_cast<std::byte>(random_());
      if (nesting && below(3) != 0) each = static_cast<std::byte>(0x80 + (random_() & 0x13));
    }
    const std::size_t expected = their_size(input);
    EXPECT_EQ(our_size(input), expected) << hex(input);
    if (expected > 0) {
      ++accepted;
      const auto whole = std::span(input).first(expected);
      const auto tree = msgpack::unpack(reinterpret_cast<const char*>(whole.data()), whole.size());
      value_reader reader(whole);
      expect_same(reader, tree.get());
      EXPECT_TRUE(reader.at_end());
    }
  }
  EXPECT_GT(accepted, 1000);  // or the test is not about values any more
}

TEST_F(differential, both_agree_on_how_deep_is_too_deep) {
  for (std::size_t depth = max_value_depth - 3; depth < max_value_depth + 3; ++depth) {
    for (const int innermost : {0x01, 0x90, 0x80}) {
      byte_vector input;
      for (std::size_t i = 0; i < depth; ++i) {
        if (below(2) == 0) {
          input.push_back(std::byte{0x91});
        } else {
          input.push_back(std::byte{0x81});
          input.push_back(std::byte{0x01});
        }
      }
      input.push_back(static_cast<std::byte>(innermost));
      EXPECT_EQ(our_size(input), their_size(input)) << depth << " around " << innermost;
    }
  }
}

TEST_F(differential_values, both_agree_on_damaged_values) {
  for (int i = 0; i < 5000 && !HasFailure(); ++i) {
    value_writer ours;
    twin_writer twin(ours);
    write_value(twin, 0);
    byte_vector input = copy_of(ours.bytes());
    if (input.size() > 4096) continue;  // msgpack-cxx may reserve the input's size at each byte
    for (std::uint64_t hits = 1 + below(3); hits > 0; --hits) {
      input[below(input.size())] = static_cast<std::byte>(random_());
    }
    if (below(3) == 0) input.resize(below(input.size()) + 1);
    EXPECT_EQ(our_size(input), their_size(input)) << hex(input);
  }
}

}  // namespace
}  // namespace ferry
