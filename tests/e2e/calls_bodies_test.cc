// Bodies of every size, both ways, as spans and as loans.
#include "tests/e2e/e2e.h"

namespace ferry {
namespace {

constexpr std::size_t inline_limit = session_options{}.inline_limit;
constexpr std::size_t KiB = 1024, MiB = 1024 * KiB;

// Around every border: empty, tiny, in the pool, in the ring, lent.
const std::vector<std::size_t> sizes = {0,
                                        1,
                                        24,
                                        63,
                                        64,
                                        65,
                                        1023,
                                        inline_limit - 1,
                                        inline_limit,
                                        inline_limit + 1,
                                        64 * KiB,
                                        MiB,
                                        10 * MiB,
                                        64 * MiB};

using calls_bodies = e2e;

std::vector<std::byte> pattern(std::size_t size) {
  std::vector<std::byte> bytes(size);
  write_pattern(bytes);
  return bytes;
}

TEST_F(calls_bodies, of_every_size_come_back_as_they_went_when_sent_as_a_span) {
  launched host = start();
  for (const std::size_t size : sizes) {
    const auto sent = pattern(size);
    const auto seen = host.call("is_pattern", sent);
    EXPECT_EQ(text_of(seen), "yes") << size;
    const auto answer = host.call("echo", sent);
    ASSERT_TRUE(answer) << size << ": " << answer.error().message();
    EXPECT_EQ(answer->size(), size);
    EXPECT_TRUE(is_pattern(answer->bytes())) << size;
    EXPECT_EQ(answer->borrowed(), size > inline_limit) << size;
  }
}

TEST_F(calls_bodies, of_every_size_come_back_as_they_went_when_written_into_a_loan) {
  launched host = start();
  for (const std::size_t size : sizes) {
    auto sent = host.loan(size);
    ASSERT_TRUE(sent) << size << ": " << sent.error().message();
    ASSERT_EQ(sent->size(), size);
    write_pattern(sent->bytes());
    const auto answer = host.call("echo_loan", std::move(*sent));
    ASSERT_TRUE(answer) << size << ": " << answer.error().message();
    EXPECT_EQ(answer->size(), size);
    EXPECT_TRUE(is_pattern(answer->bytes())) << size;
  }
}

TEST_F(calls_bodies, of_a_gibibyte_are_lent_without_being_touched) {
  if (sanitized) GTEST_SKIP() << "expected: too much memory under a sanitizer";
  launched host = start();
  auto sent = host.loan(1024 * MiB);
  if (!sent && sent.error().code == errc::no_memory) {
    GTEST_SKIP() << "expected: " << sent.error().message();
  }
  ASSERT_TRUE(sent) << sent.error().message();
  EXPECT_EQ(text_of(host.call("size", std::move(*sent))), std::to_string(1024 * MiB));
}

TEST_F(calls_bodies, arrive_as_short_as_their_loan_was_shrunk) {
  launched host = start();
  for (const std::size_t size : {100ul, inline_limit, inline_limit + 1, 64 * KiB}) {
    for (const std::size_t left : {0ul, 1ul, size / 2, size - 1, size}) {
      auto sent = host.loan(size);
      ASSERT_TRUE(sent);
      sent->shrink(left);
      write_pattern(sent->bytes());
      const auto answer = host.call("echo", std::move(*sent));
      ASSERT_TRUE(answer) << answer.error().message();
      EXPECT_EQ(answer->size(), left) << "of " << size;
      EXPECT_TRUE(is_pattern(answer->bytes())) << left << " of " << size;
    }
  }
}

TEST_F(calls_bodies, of_an_answer_arrive_as_short_as_the_worker_shrunk_its_loan) {
  launched host = start();
  for (const std::string ask_for : {"100 0", "100 7", "100000 0", "100000 7", "100000 99999"}) {
    const auto answer = host.call("pattern", bytes_of(ask_for));
    ASSERT_TRUE(answer) << answer.error().message();
    EXPECT_EQ(std::to_string(answer->size()), ask_for.substr(ask_for.find(' ') + 1));
    EXPECT_TRUE(is_pattern(answer->bytes())) << ask_for;
  }
}

TEST_F(calls_bodies, of_an_answer_are_written_by_the_worker_where_the_host_reads_them) {
  launched host = start();
  const auto answer = host.call("make", bytes_of("5000000 x"));
  ASSERT_TRUE(answer) << answer.error().message();
  EXPECT_TRUE(answer->borrowed());
  EXPECT_EQ(answer->size(), 5'000'000u);
  EXPECT_EQ(answer->text().find_first_not_of('x'), std::string_view::npos);
}

TEST_F(calls_bodies, that_the_host_keeps_are_not_disturbed_by_later_calls) {
  launched host = start();
  std::vector<body> kept;
  for (std::size_t i = 0; i < 200; ++i) {
    const auto sent = pattern(i % 2 == 0 ? 3000 + i : 40 + i);
    auto answer = host.call("echo", sent);
    ASSERT_TRUE(answer) << answer.error().message();
    kept.push_back(std::move(*answer));
  }
  for (std::size_t i = 0; i < kept.size(); ++i) {
    EXPECT_EQ(kept[i].size(), i % 2 == 0 ? 3000 + i : 40 + i);
    EXPECT_TRUE(is_pattern(kept[i].bytes())) << i;
  }
}

TEST_F(calls_bodies, that_the_worker_keeps_count_as_lent_until_it_drops_them) {
  launched host = start();
  const auto sent = pattern(10'000);
  for (int i = 1; i <= 5; ++i) {
    EXPECT_EQ(text_of(host.call("keep", sent)), std::to_string(i));
  }
  EXPECT_EQ(host.stats().bodies_lent, 5u);
  EXPECT_EQ(host.stats().bytes_lent, 50'000u);
  EXPECT_EQ(ask(host, "forget"), "forgotten");
  (void)host.run_once();
  EXPECT_EQ(host.stats().bodies_lent, 0u);
  EXPECT_EQ(host.stats().bytes_lent, 0u);
}

TEST_F(calls_bodies, that_were_borrowed_and_not_sent_go_back_by_themselves) {
  launched host = start();
  {
    auto unsent = host.loan(MiB);
    ASSERT_TRUE(unsent);
    EXPECT_GE(host.stats().arena_bytes, MiB);
  }
  host.trim();
  EXPECT_EQ(host.stats().arena_bytes, 0u);
}

TEST_F(calls_bodies, of_no_loan_or_of_another_session_are_refused) {
  launched one = start();
  launched other = start();
  EXPECT_EQ(code_of(one.call("echo", loan())), errc::invalid_request);
  for (const std::size_t size : {10ul, 100'000ul}) {
    auto foreign = other.loan(size);
    ASSERT_TRUE(foreign);
    EXPECT_EQ(code_of(one.call("echo", std::move(*foreign))), errc::invalid_request) << size;
  }
  EXPECT_EQ(ask(one, "echo", "still here"), "still here");
  other.trim();
  EXPECT_EQ(other.stats().arena_bytes, 0u);  // a refused loan is no leak
}

TEST_F(calls_bodies, stay_readable_after_their_client_is_gone) {
  body small, pooled, lent;
  {
    launched host = start();
    small = *host.call("echo", bytes_of("tiny"));
    pooled = *host.call("pattern", bytes_of("1000 1000"));
    lent = *host.call("pattern", bytes_of("100000 100000"));
  }
  EXPECT_EQ(small.text(), "tiny");
  EXPECT_TRUE(pooled.size() == 1000 && is_pattern(pooled.bytes()));
  EXPECT_TRUE(lent.size() == 100'000 && is_pattern(lent.bytes()));
}

}  // namespace
}  // namespace ferry
