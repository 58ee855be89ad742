#include "engine/session/layout.h"

#include <gtest/gtest.h>

#include <type_traits>

namespace ferry {
namespace {

TEST(control_layout, of_any_sizes_has_parts_that_follow_each_other_without_overlap) {
  for (std::uint64_t cells = min_returns_cells; cells <= max_returns_cells; cells *= 2) {
    for (std::uint64_t ring = min_ring_bytes; ring <= max_ring_bytes; ring *= 2) {
      const auto layout = lay_out_control(ring, cells);
      EXPECT_GE(layout.returns_offset, sizeof(control_block));
      EXPECT_GE(layout.ring_offset, layout.returns_offset + cells * 8);
      EXPECT_GE(layout.total_bytes, layout.ring_offset + ring);
      EXPECT_EQ(layout.returns_offset % alignof(return_cell<std_atomics>), 0u);
      EXPECT_EQ(layout.returns_offset % pad_bytes, 0u);  // no line shared with the sleep words
      EXPECT_EQ(layout.ring_offset % 4096, 0u);
      EXPECT_EQ(layout.total_bytes % 4096, 0u);
      EXPECT_LT(layout.total_bytes, ring + cells * 8 + 3 * 4096);  // and little is wasted
    }
  }
}

TEST(control_layout, keeps_what_different_threads_write_on_lines_of_their_own) {
  EXPECT_EQ(offsetof(control_block, records_read) % pad_bytes, 0u);
  EXPECT_EQ(offsetof(control_block, returns_taken) % pad_bytes, 0u);
  EXPECT_EQ(offsetof(control_block, sleep) % pad_bytes, 0u);
  EXPECT_GE(offsetof(control_block, returns_taken) - offsetof(control_block, records_read),
            pad_bytes);
}

TEST(control_layout, has_packets_without_hidden_padding) {
  EXPECT_TRUE(std::has_unique_object_representations_v<hello_packet>);
  EXPECT_TRUE(std::has_unique_object_representations_v<reject_packet>);
  EXPECT_TRUE(std::has_unique_object_representations_v<segment_packet>);
  EXPECT_EQ(sizeof(packet_header), 8u);
  EXPECT_EQ(offsetof(hello_packet, magic), 8u);  // these two stay where they are in every version
  EXPECT_EQ(offsetof(hello_packet, version), 12u);
  EXPECT_LE(sizeof(hello_packet), max_packet_bytes);
}

TEST(control_layout, has_numbers_that_never_change) {
  EXPECT_EQ(hello_magic, 0x59525246u);
  EXPECT_EQ(control_magic, 0x3147455359525245u);
  EXPECT_EQ(protocol_version, 1);
  EXPECT_EQ(layout_version, 1);
  EXPECT_EQ(static_cast<int>(packet_kind::hello), 1);
  EXPECT_EQ(static_cast<int>(packet_kind::reject), 2);
  EXPECT_EQ(static_cast<int>(packet_kind::segment), 3);
  EXPECT_EQ(static_cast<int>(packet_kind::wakeup), 4);
  EXPECT_EQ(static_cast<int>(packet_kind::bye), 5);
}

}  // namespace
}  // namespace ferry
