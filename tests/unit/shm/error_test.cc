#include "shm/error.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "shm/result.h"

namespace ferry {
namespace {

TEST(error, names_the_call_the_reason_and_the_numbers) {
  const error why{errc::limit, EFBIG, "RLIMIT_FSIZE", 100, 7};
  EXPECT_EQ(why.message(), "limit: RLIMIT_FSIZE: File too large (wanted 100, allowed 7)");
}

TEST(error, keeps_an_unknown_code_readable) {
  EXPECT_EQ(call_error({static_cast<errc>(2999), "odd", false}).message(), "error (2999): odd");
}

TEST(result, holds_a_value_or_a_reason) {
  result<int> good = 4;
  ASSERT_TRUE(good);
  EXPECT_EQ(*good, 4);
  result<int> bad = error{errc::full};
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, errc::full);
  EXPECT_EQ(bad.value_or(9), 9);
}

TEST(result_death, reading_the_value_of_a_failure_aborts) {
  result<int> bad = error{errc::full};
  EXPECT_DEATH((void)*bad, "broken invariant");
}

}  // namespace
}  // namespace ferry
