// Decodes    any bytes as MessagePack values one after another, by value_reader.
// Input      the bytes themselves.
// Property   reading a value piece by piece and skipping it come to the same end, or fail for the
//            same reason; a call that fails consumes and changes nothing; a reader of another kind
//            always fails; what is returned lies within the input; no container holds more values
//            than there are bytes left for, and no more than 64 are ever open.
#include "engine/codec/reader.h"

#include <optional>
#include <utility>

#include "tests/fuzz/fuzz.h"

namespace ferry {
namespace {

// A call that must fail, and leave the reader where it was.
template <class Call>
void refuses(value_reader& reader, Call call) {
  const std::size_t before = reader.position();
  const auto got = call();
  FERRY_CHECK(!got);
  FERRY_CHECK(got.error().code == errc::invalid_params);
  FERRY_CHECK(reader.position() == before);
}

// All readers but those of `kind`; with no kind, all.
void refuses_others(value_reader& reader, std::optional<value_kind> kind) {
  const bool number = kind == value_kind::integer || kind == value_kind::real;
  if (kind != value_kind::nil) refuses(reader, [&] { return reader.nil(); });
  if (kind != value_kind::boolean) refuses(reader, [&] { return reader.boolean(); });
  if (kind != value_kind::integer) refuses(reader, [&] { return reader.integer(); });
  if (kind != value_kind::integer) refuses(reader, [&] { return reader.unsigned_integer(); });
  if (!number) refuses(reader, [&] { return reader.real(); });
  if (kind != value_kind::string) refuses(reader, [&] { return reader.string(); });
  if (kind != value_kind::binary) refuses(reader, [&] { return reader.binary(); });
  if (kind != value_kind::array) refuses(reader, [&] { return reader.array(); });
  if (kind != value_kind::map) refuses(reader, [&] { return reader.map(); });
}

class walker {
 public:
  explicit walker(std::span<const std::byte> input) : input_(input), reader_(input) {}

  std::size_t position() const { return reader_.position(); }
  bool at_end() const { return reader_.at_end(); }

  // The next value with all that is inside it; `depth` containers are open around it.
  result<void> read_value(std::size_t depth) {
    FERRY_CHECK(depth <= max_value_depth);
    const std::size_t begin = reader_.position();
    const auto kind = reader_.peek();
    FERRY_CHECK(reader_.next_is_nil() == (kind && *kind == value_kind::nil));
    refuses_others(reader_, kind ? std::optional(*kind) : std::nullopt);
    FERRY_CHECK(reader_.position() == begin);
    if (!kind) {
      refuses(reader_, [&] { return reader_.skip(); });
      return kind.error();
    }
    // Elsewhere, with nothing open around it, the same bytes are the same value. What cannot even
    // be skipped there cannot be skipped here, and to try must change nothing of what follows.
    value_reader alone(input_.subspan(begin));
    const bool whole = static_cast<bool>(alone.skip());
    if (!whole) refuses(reader_, [&] { return reader_.skip(); });
    const auto done = read_as(*kind, depth);
    FERRY_CHECK(reader_.position() <= input_.size());
    if (!done) return done;
    FERRY_CHECK(reader_.position() > begin);
    FERRY_CHECK(whole);
    FERRY_CHECK(begin + alone.position() == reader_.position());
    return {};
  }

 private:
  result<void> read_as(value_kind kind, std::size_t depth) {
    const std::size_t begin = reader_.position();
    switch (kind) {
      case value_kind::nil: FERRY_CHECK(reader_.nil()); return {};
      case value_kind::boolean: FERRY_CHECK(reader_.boolean()); return {};
      case value_kind::integer: read_integer(begin); return {};
      case value_kind::real: FERRY_CHECK(reader_.real()); return {};
      case value_kind::string: {
        const auto text = reader_.string();
        FERRY_CHECK(text);
        lies_before_position(std::as_bytes(std::span(*text)));
        return {};
      }
      case value_kind::binary: {
        const auto bytes = reader_.binary();
        FERRY_CHECK(bytes);
        lies_before_position(*bytes);
        return {};
      }
      case value_kind::extension: FERRY_CHECK(reader_.skip()); return {};
      case value_kind::array: {
        const auto count = reader_.array();
        return count ? read_values(*count, depth) : refused(begin, count.error());
      }
      case value_kind::map: {
        const auto count = reader_.map();
        return count ? read_values(2 * std::uint64_t{*count}, depth)
                     : refused(begin, count.error());
      }
    }
    FERRY_CHECK(false);  // a kind that is none
    return {};
  }

  // Any integer is one of a signed and an unsigned 64-bit number, and the same if it is both.
  void read_integer(std::size_t begin) {
    value_reader other(input_.subspan(begin));
    const auto as_unsigned = other.unsigned_integer();
    const auto as_signed = reader_.integer();
    FERRY_CHECK(as_signed || as_unsigned);
    if (as_signed && as_unsigned) FERRY_CHECK(std::cmp_equal(*as_signed, *as_unsigned));
    if (as_signed) {
      FERRY_CHECK(as_unsigned || *as_signed < 0);
    } else {
      FERRY_CHECK(reader_.position() == begin);
      FERRY_CHECK(reader_.unsigned_integer());
    }
    value_reader third(input_.subspan(begin));
    if (const auto exactly = third.real(); exactly && as_signed) {
      FERRY_CHECK(*exactly == static_cast<double>(*as_signed));
    }
  }

  result<void> read_values(std::uint64_t values, std::size_t depth) {
    FERRY_CHECK(values <= input_.size() - reader_.position());  // each takes at least a byte
    for (std::uint64_t i = 0; i < values; ++i) {
      if (auto done = read_value(depth + 1); !done) return done;
    }
    return {};
  }

  result<void> refused(std::size_t begin, const error& why) {
    FERRY_CHECK(reader_.position() == begin);
    return why;
  }

  void lies_before_position(std::span<const std::byte> view) {
    const std::byte* end = input_.data() + reader_.position();
    FERRY_CHECK(view.data() + view.size() == end);
    FERRY_CHECK(view.data() >= input_.data());
  }

  std::span<const std::byte> input_;
  value_reader reader_;
};

bool same_reason(const error& one, const error& other) {
  return one.code == other.code && one.what == std::string_view(other.what) &&
         one.wanted == other.wanted && one.allowed == other.allowed;
}

void run(std::span<const std::byte> input) {
  walker reading(input);
  value_reader skipping(input);
  while (!reading.at_end()) {
    const std::size_t begin = skipping.position();
    const auto read = reading.read_value(0);
    const auto skipped = skipping.skip();
    FERRY_CHECK(static_cast<bool>(read) == static_cast<bool>(skipped));
    if (!read) {
      FERRY_CHECK(same_reason(read.error(), skipped.error()));
      FERRY_CHECK(skipping.position() == begin);
      return;
    }
    FERRY_CHECK(reading.position() == skipping.position());
  }
  FERRY_CHECK(skipping.at_end());
}

}  // namespace
}  // namespace ferry

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes) {
  ferry::run(std::as_bytes(std::span(data, size_bytes)));
  return 0;
}
