// Records that wait for room: what is told twice, and what is merged.
#include "engine/session/owed.h"

#include "tests/unit/session/session_pair.h"

namespace ferry {
namespace {

record_fields of(record_kind kind, std::uint64_t call) {
  record_fields fields;
  fields.kind = kind;
  fields.call = call;
  return fields;
}

TEST(owed, progress_of_one_call_is_one_record_however_often_it_is_told) {
  owed_records owed;
  for (int times = 0; times < 1000; ++times) {
    for (std::uint64_t call = 1; call <= 3; ++call) owed.add(of(record_kind::progress, call));
  }
  EXPECT_EQ(owed.count(), 3u);
  owed.add(of(record_kind::reply, 1));
  owed.add(of(record_kind::reply, 2));
  EXPECT_EQ(owed.count(), 5u);
}

TEST(owed, progress_that_was_sent_is_owed_anew) {
  core_pair pair;
  owed_records owed;
  for (int times = 0; times < 3; ++times) {
    owed.add(of(record_kind::progress, 1));
    owed.add(of(record_kind::progress, 1));
    EXPECT_EQ(owed.count(), 1u);
    EXPECT_TRUE(owed.flush(*pair.worker));
    EXPECT_FALSE(owed.any());
  }
}

}  // namespace
}  // namespace ferry
