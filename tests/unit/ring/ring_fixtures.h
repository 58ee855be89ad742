// Both sides of each ring on the heap, in blocks of the exact size: the address sanitizer sees each
// step past either end.
#pragma once
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "ring/record_ring.h"
#include "ring/returns_ring.h"

namespace ferry {

inline constexpr std::uint64_t test_key = 0x9e37'79b9'7f4a'7c15;

class heap_ring {
 public:
  explicit heap_ring(std::size_t capacity_bytes) : lines_(capacity_bytes / cache_line_bytes) {}
  std::span<std::byte> bytes() { return std::as_writable_bytes(std::span(lines_)); }

  // What a hostile producer can do: any header, with the right ready word, at any position.
  void forge(std::uint64_t position, const record_fields& fields, std::uint64_t key = test_key) {
    auto* at = this->at(position);
    at->fields = fields;
    at->ready.store(ready_word(position, key), std::memory_order_release);
  }
  shared_record<std_atomics>* at(std::uint64_t position) {
    return reinterpret_cast<shared_record<std_atomics>*>(bytes().data() +
                                                         (position & (bytes().size() - 1)));
  }

 private:
  struct alignas(cache_line_bytes) line {
    std::byte bytes[cache_line_bytes];
  };
  std::vector<line> lines_;
};

struct record_pair {  // an empty ring whose first record lies at `start`
  explicit record_pair(std::size_t capacity_bytes, std::uint64_t start = 0)
      : ring(capacity_bytes),
        consumed{start},
        producer(ring.bytes(), consumed, test_key, start),
        consumer(ring.bytes(), consumed, test_key, start) {}
  heap_ring ring;
  cursor<std_atomics> consumed;  // the consumer's segment
  record_producer<> producer;
  record_consumer<> consumer;
};

struct returns_pair {
  explicit returns_pair(std::size_t capacity_cells, std::uint64_t start = 0)
      : cells(capacity_cells),
        consumed{start},
        producer(cells, consumed, start),
        consumer(cells, consumed, start) {}
  std::vector<return_cell<std_atomics>> cells;
  cursor<std_atomics> consumed;  // the owner's segment
  returns_producer<> producer;
  returns_consumer<> consumer;
};

inline record_fields call_number(std::uint64_t call) {
  record_fields fields;
  fields.kind = record_kind::call;
  fields.call = call;
  return fields;
}

inline std::vector<std::byte> patterned(std::size_t size_bytes, std::uint64_t seed) {
  std::vector<std::byte> body(size_bytes);
  for (std::size_t i = 0; i < size_bytes; ++i) body[i] = static_cast<std::byte>(seed * 31 + i * 7);
  return body;
}

}  // namespace ferry
