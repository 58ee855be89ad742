// C++ values as MessagePack: encode() and decode() for one value, encode_args() and decode_args()
// for the arguments of a call.
// Layout    bool                             boolean
//           integers, enums (as underlying)  integer; any value of the type is accepted
//           float, double                    real; decode takes an integer that it holds exactly,
//                                            and rounds a double that is in a float's range
//           std::string, std::string_view    string; const char* and literals too, encode only
//           std::vector<std::byte>, std::array<std::byte, N>, std::span<const std::byte>
//                                            binary
//           std::vector, std::array, std::pair, std::tuple
//                                            array; all but the vector of exactly that length
//           std::optional                    nil, or the value
//           std::map, std::unordered_map     map; keys are strings, integers, bools or enums, and a
//                                            key that comes twice is an error
//           a struct with ferry_fields       array of its fields; later fields that we do not know
//                                            are skipped, missing ones are an error:
//             struct point {
//               int x = 0, y = 0;
//               static auto ferry_fields(auto& self) { return std::tie(self.x, self.y); }
//             };
//           arguments                        array of exactly as many values, and nothing after it
//           Any other type: specialise codec::value_codec, as below.
// Threads   as the writer and the reader.
// Lifetime  a decoded std::string_view or std::span is a view into the input, which must outlive
//           it, also inside a vector, a tuple or a struct. All else is copied.
// Limits    nesting as the reader's, so a type that contains itself is safe to decode. A count lets
//           us reserve at most reserve_ahead_bytes; more memory follows only with decoded values.
//           Prefer std::map for keys that an enemy chooses: he can make std::hash collide.
// Errors    invalid_params, always; the reader's texts, and ours. Where ours carry numbers,
//           `wanted` is how many values came and `allowed` how many the type takes: "wrong number
//           of arguments (wanted 3, allowed 2)". Encoding fails only as the writer does; a null
//           const char* is a broken precondition (CHECK).
// Source    engine/codec/README.md.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/codec/reader.h"
#include "engine/codec/writer.h"
#include "shm/check.h"
#include "shm/result.h"

namespace ferry {
namespace codec {

inline constexpr std::size_t reserve_ahead_bytes = 64 * 1024;

// How T travels. A specialisation has `static void encode(value_writer&, const T&)` and
// `static result<void> decode(value_reader&, T&)`, which may assume a default-made T and may leave
// it half filled when it fails.
template <class T>
struct value_codec;

template <class T>
concept has_codec = requires {
  sizeof(value_codec<T>);
};
template <class T>
concept has_fields = std::is_class_v<T> && requires(T& value) {
  T::ferry_fields(value);
};
template <class T>
concept small_integral = std::integral<T> && sizeof(T) <= sizeof(std::uint64_t);
template <class T>
concept map_key = std::integral<T> || std::is_enum_v<T> || std::same_as<T, std::string>;

inline error invalid(const char* what, std::uint64_t came = 0, std::uint64_t taken = 0) noexcept {
  return error{errc::invalid_params, 0, what, came, taken};
}

inline std::uint32_t checked_count(std::size_t count) {
  FERRY_CHECK(count <= std::numeric_limits<std::uint32_t>::max());
  return static_cast<std::uint32_t>(count);
}

template <class... T>
void encode_each(value_writer& writer, const T&... values) {
  (value_codec<T>::encode(writer, values), ...);
}

template <class... T>
result<void> decode_each(value_reader& reader, T&... out) {
  result<void> done;
  static_cast<void>(((done = value_codec<T>::decode(reader, out)) && ...));
  return done;
}

// An array of exactly these values.
template <class... T>
result<void> decode_exactly(value_reader& reader, const char* otherwise, T&... out) {
  const auto count = reader.array();
  if (!count) return count.error();
  if (*count != sizeof...(T)) return invalid(otherwise, *count, sizeof...(T));
  return decode_each(reader, out...);
}

template <>
struct value_codec<bool> {
  static void encode(value_writer& writer, bool value) { writer.boolean(value); }
  static result<void> decode(value_reader& reader, bool& out) {
    const auto value = reader.boolean();
    if (!value) return value.error();
    out = *value;
    return {};
  }
};

template <small_integral T>
struct value_codec<T> {
  static void encode(value_writer& writer, T value) {
    if constexpr (std::is_signed_v<T>) {
      writer.integer(value);
    } else {
      writer.unsigned_integer(value);
    }
  }
  static result<void> decode(value_reader& reader, T& out) {
    if constexpr (std::is_signed_v<T>) {
      return narrow(reader.integer(), out);
    } else {
      return narrow(reader.unsigned_integer(), out);
    }
  }

 private:
  template <class Wide>
  static result<void> narrow(const result<Wide>& value, T& out) {
    if (!value) return value.error();
    if (*value < std::numeric_limits<T>::min() || *value > std::numeric_limits<T>::max()) {
      return invalid("integer out of range");
    }
    out = static_cast<T>(*value);
    return {};
  }
};

template <class T>
requires std::is_enum_v<T>
struct value_codec<T> {
  using number = std::underlying_type_t<T>;
  static void encode(value_writer& writer, T value) {
    value_codec<number>::encode(writer, static_cast<number>(value));
  }
  static result<void> decode(value_reader& reader, T& out) {
    number value{};
    if (auto done = value_codec<number>::decode(reader, value); !done) return done;
    out = static_cast<T>(value);
    return {};
  }
};

template <>
struct value_codec<double> {
  static void encode(value_writer& writer, double value) { writer.real(value); }
  static result<void> decode(value_reader& reader, double& out) {
    const auto value = reader.real();
    if (!value) return value.error();
    out = *value;
    return {};
  }
};

template <>
struct value_codec<float> {
  static void encode(value_writer& writer, float value) { writer.real32(value); }
  static result<void> decode(value_reader& reader, float& out) {
    const auto kind = reader.peek();
    const auto value = reader.real();
    if (!value) return value.error();
    if (std::isfinite(*value) && std::abs(*value) > std::numeric_limits<float>::max()) {
      return invalid("real out of range");
    }
    out = static_cast<float>(*value);
    // Many languages know only doubles, so those are rounded; an integer means a whole number.
    if (*kind == value_kind::integer && static_cast<double>(out) != *value) {
      return invalid("integer that no real holds exactly");
    }
    return {};
  }
};

template <>
struct value_codec<std::string> {
  static void encode(value_writer& writer, const std::string& value) { writer.string(value); }
  static result<void> decode(value_reader& reader, std::string& out) {
    const auto value = reader.string();
    if (!value) return value.error();
    out.assign(*value);
    return {};
  }
};

template <>
struct value_codec<std::string_view> {
  static void encode(value_writer& writer, std::string_view value) { writer.string(value); }
  static result<void> decode(value_reader& reader, std::string_view& out) {
    const auto value = reader.string();
    if (!value) return value.error();
    out = *value;
    return {};
  }
};

template <class T>
requires std::same_as<T, const char*> || std::same_as<T, char*>
struct value_codec<T> {  // no decode: nobody would own the characters
  static void encode(value_writer& writer, const char* value) {
    FERRY_CHECK(value != nullptr);
    writer.string(value);
  }
};

template <>
struct value_codec<std::span<const std::byte>> {
  static void encode(value_writer& writer, std::span<const std::byte> value) {
    writer.binary(value);
  }
  static result<void> decode(value_reader& reader, std::span<const std::byte>& out) {
    const auto value = reader.binary();
    if (!value) return value.error();
    out = *value;
    return {};
  }
};

template <>
struct value_codec<std::span<std::byte>> {  // no decode: the input is not ours to hand out writable
  static void encode(value_writer& writer, std::span<const std::byte> value) {
    writer.binary(value);
  }
};

template <>
struct value_codec<std::vector<std::byte>> {
  static void encode(value_writer& writer, const std::vector<std::byte>& value) {
    writer.binary(value);
  }
  static result<void> decode(value_reader& reader, std::vector<std::byte>& out) {
    const auto value = reader.binary();
    if (!value) return value.error();
    out.assign(value->begin(), value->end());
    return {};
  }
};

template <std::size_t N>
struct value_codec<std::array<std::byte, N>> {
  static void encode(value_writer& writer, const std::array<std::byte, N>& value) {
    writer.binary(value);
  }
  static result<void> decode(value_reader& reader, std::array<std::byte, N>& out) {
    const auto value = reader.binary();
    if (!value) return value.error();
    if (value->size() != N) return invalid("binary of another length", value->size(), N);
    std::ranges::copy(*value, out.begin());
    return {};
  }
};

template <class T>
struct value_codec<std::vector<T>> {
  static void encode(value_writer& writer, const std::vector<T>& value) {
    writer.array(checked_count(value.size()));
    for (const T& item : value) value_codec<T>::encode(writer, item);
  }
  static result<void> decode(value_reader& reader, std::vector<T>& out) {
    const auto count = reader.array();
    if (!count) return count.error();
    out.clear();
    out.reserve(std::min<std::size_t>(*count, 1 + reserve_ahead_bytes / sizeof(T)));
    for (std::uint32_t i = 0; i < *count; ++i) {
      T item{};
      if (auto done = value_codec<T>::decode(reader, item); !done) return done;
      out.push_back(std::move(item));
    }
    return {};
  }
};

template <class T, std::size_t N>
struct value_codec<std::array<T, N>> {
  static void encode(value_writer& writer, const std::array<T, N>& value) {
    writer.array(checked_count(N));
    for (const T& item : value) value_codec<T>::encode(writer, item);
  }
  static result<void> decode(value_reader& reader, std::array<T, N>& out) {
    const auto count = reader.array();
    if (!count) return count.error();
    if (*count != N) return invalid("array of another length", *count, N);
    for (T& item : out) {
      if (auto done = value_codec<T>::decode(reader, item); !done) return done;
    }
    return {};
  }
};

template <class T>
struct value_codec<std::optional<T>> {
  static void encode(value_writer& writer, const std::optional<T>& value) {
    value ? value_codec<T>::encode(writer, *value) : writer.nil();
  }
  static result<void> decode(value_reader& reader, std::optional<T>& out) {
    out.reset();
    if (reader.next_is_nil()) return reader.nil();
    return value_codec<T>::decode(reader, out.emplace());
  }
};

template <class T>
struct value_codec<std::optional<std::optional<T>>>;  // nil could mean either: it cannot travel

template <class First, class Second>
struct value_codec<std::pair<First, Second>> {
  static void encode(value_writer& writer, const std::pair<First, Second>& value) {
    writer.array(2);
    encode_each(writer, value.first, value.second);
  }
  static result<void> decode(value_reader& reader, std::pair<First, Second>& out) {
    return decode_exactly(reader, "pair of another length", out.first, out.second);
  }
};

template <class... T>
struct value_codec<std::tuple<T...>> {
  static void encode(value_writer& writer, const std::tuple<T...>& value) {
    writer.array(sizeof...(T));
    std::apply([&](const T&... items) { encode_each(writer, items...); }, value);
  }
  static result<void> decode(value_reader& reader, std::tuple<T...>& out) {
    return std::apply(
        [&](T&... items) { return decode_exactly(reader, "tuple of another length", items...); },
        out);
  }
};

template <class Map>
struct map_codec {
  using key_type = typename Map::key_type;
  using mapped_type = typename Map::mapped_type;
  static void encode(value_writer& writer, const Map& value) {
    writer.map(checked_count(value.size()));
    for (const auto& [key, mapped] : value) encode_each(writer, key, mapped);
  }
  static result<void> decode(value_reader& reader, Map& out) {
    const auto count = reader.map();
    if (!count) return count.error();
    out.clear();
    for (std::uint32_t i = 0; i < *count; ++i) {
      key_type key{};
      mapped_type mapped{};
      if (auto done = decode_each(reader, key, mapped); !done) return done;
      if (!out.emplace(std::move(key), std::move(mapped)).second) {
        return invalid("key repeated in a map");
      }
    }
    return {};
  }
};

template <map_key K, class V>
struct value_codec<std::map<K, V>> : map_codec<std::map<K, V>> {};

template <map_key K, class V>
struct value_codec<std::unordered_map<K, V>> : map_codec<std::unordered_map<K, V>> {};

template <has_fields T>
struct value_codec<T> {
  static void encode(value_writer& writer, const T& value) {
    std::apply(
        [&](const auto&... fields) {
          writer.array(sizeof...(fields));
          encode_each(writer, fields...);
        },
        T::ferry_fields(value));
  }
  static result<void> decode(value_reader& reader, T& out) {
    return std::apply([&](auto&... fields) { return decode_fields(reader, fields...); },
                      T::ferry_fields(out));
  }

 private:
  template <class... Fields>
  static result<void> decode_fields(value_reader& reader, Fields&... fields) {
    const auto count = reader.array();
    if (!count) return count.error();
    if (*count < sizeof...(Fields)) {
      return invalid("fewer fields than the struct has", *count, sizeof...(Fields));
    }
    if (auto done = decode_each(reader, fields...); !done) return done;
    for (std::size_t i = sizeof...(Fields); i < *count; ++i) {
      if (auto done = reader.skip(); !done) return done;
    }
    return {};
  }
};

template <class Args>
struct decoded_args;
template <class... Args>
struct decoded_args<std::tuple<Args...>> {
  using type = std::tuple<std::decay_t<Args>...>;
};

}  // namespace codec

template <class T>
void encode(value_writer& writer, const T& value) {
  using plain = std::decay_t<const T&>;  // a literal becomes const char*
  static_assert(codec::has_codec<plain>, "this type cannot travel: give it a static ferry_fields");
  codec::value_codec<plain>::encode(writer, value);
}

// The next value of `reader`; more may follow it.
template <class T>
result<T> decode(value_reader& reader) {
  static_assert(codec::has_codec<T>, "this type cannot travel: give it a static ferry_fields");
  T value{};
  if (auto done = codec::value_codec<T>::decode(reader, value); !done) return done.error();
  return value;
}

// The one value that `input` holds: bytes after it are an error.
template <class T>
result<T> decode(std::span<const std::byte> input) {
  value_reader reader(input);
  auto value = decode<T>(reader);
  if (value && !reader.at_end()) return codec::invalid("bytes after the value");
  return value;
}

template <class... Args>
void encode_args(value_writer& writer, const Args&... args) {
  writer.array(sizeof...(Args));
  (encode(writer, args), ...);
}

// The arguments of a call, from all of `input`. `Args` is a std::tuple of the parameter types as
// the function declares them; the result holds them decayed: for `const std::string&`, a string.
template <class Args>
result<typename codec::decoded_args<Args>::type> decode_args(std::span<const std::byte> input) {
  using values = typename codec::decoded_args<Args>::type;
  values args{};
  value_reader reader(input);
  const auto done = std::apply(
      [&](auto&... each) {
        return codec::decode_exactly(reader, "wrong number of arguments", each...);
      },
      args);
  if (!done) return done.error();
  if (!reader.at_end()) return codec::invalid("bytes after the arguments");
  return args;
}

}  // namespace ferry
