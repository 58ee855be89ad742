#include <gtest/gtest.h>

#include <set>
#include <unordered_set>

#include "engine/channel/handshake.h"
#include "engine/channel/instance_id.h"
#include "engine/channel/token.h"

namespace ferry {
namespace {

TEST(instance_id, is_a_value_that_prints_and_parses) {
  const auto plain = runtime_instance_id::make(runtime_type::process, "a-1");
  const auto spaced = runtime_instance_id::make(runtime_type::wasm, "a-1", "prod");
  ASSERT_TRUE(plain);
  ASSERT_TRUE(spaced);
  EXPECT_EQ(plain->full_id(), "process:a-1");
  EXPECT_EQ(spaced->full_id(), "prod:wasm:a-1");
  EXPECT_EQ(*runtime_instance_id::parse("prod:wasm:a-1"), *spaced);
  EXPECT_EQ(*runtime_instance_id::parse("process:a-1"), *plain);
  EXPECT_NE(*plain, *spaced);
  EXPECT_EQ((std::set<runtime_instance_id>{*plain, *spaced, *plain}.size()), 2u);
  EXPECT_EQ((std::unordered_set<runtime_instance_id>{*plain, *spaced, *plain}.size()), 2u);
}

TEST(instance_id, that_could_not_be_a_file_name_is_refused) {
  const std::string nul("a\0b", 3);
  for (const std::string& bad :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("a b"),
        std::string("a:b"), nul, std::string(65, 'a'), std::string("\xc3\xa4")}) {
    const auto made = runtime_instance_id::make(runtime_type::process, bad);
    ASSERT_FALSE(made) << bad;
    EXPECT_EQ(made.error().code, errc::invalid_configuration);
    if (!bad.empty()) {
      EXPECT_FALSE(runtime_instance_id::make(runtime_type::process, "a", bad)) << bad;
    }
  }
  EXPECT_TRUE(runtime_instance_id::make(runtime_type::process, std::string(64, 'a')));
  EXPECT_TRUE(runtime_instance_id::make(runtime_type::process, "..."));
  EXPECT_EQ(runtime_instance_id::parse("docker:a").error().code, errc::unsupported_runtime);
  for (const char* bad : {"", "a", ":process:a", "a:b:process:c", "process:"}) {
    EXPECT_FALSE(runtime_instance_id::parse(bad)) << bad;
  }
}

TEST(token_book, opens_once_for_its_own_instance) {
  token_book book;
  const auto a = *runtime_instance_id::make(runtime_type::process, "a");
  const auto b = *runtime_instance_id::make(runtime_type::process, "b");
  const auto token = book.issue(a);
  ASSERT_TRUE(token);
  channel_token wrong = *token;
  wrong[0] ^= std::byte{1};
  EXPECT_FALSE(book.redeem(a, wrong));
  EXPECT_FALSE(book.redeem(b, *token));
  EXPECT_FALSE(book.redeem(b, channel_token{}));
  EXPECT_TRUE(book.redeem(a, *token));
  EXPECT_FALSE(book.redeem(a, *token));
  const auto next = book.issue(a);
  ASSERT_TRUE(next);
  EXPECT_FALSE(same_token(*next, *token));
  book.revoke(a);
  EXPECT_FALSE(book.redeem(a, *next));
}

TEST(channel_handshake, other_users_are_refused_unless_allowed) {
  channel_peer peer;
  EXPECT_TRUE(check_uid(peer, {}));
  peer.uid = ::geteuid();
  EXPECT_TRUE(check_uid(peer, {}));
  peer.uid = ::geteuid() + 1;
  EXPECT_EQ(check_uid(peer, {}).error().code, errc::authentication_failed);
  const std::array<std::uint32_t, 1> allowed{::geteuid() + 1};
  EXPECT_TRUE(check_uid(peer, allowed));
}

TEST(channel_handshake, refusal_is_quoted_in_printable_words) {
  message refusal = refusal_message({errc::authentication_failed, "no\x1b[31m!"});
  const auto why = read_refusal(control_fields(frame_kind::refusal, refusal), refusal);
  EXPECT_EQ(why.code, errc::authentication_failed);
  EXPECT_EQ(why.text, "the peer refused: no?[31m!");
  refusal.code = 77'777;
  EXPECT_EQ(read_refusal(control_fields(frame_kind::refusal, refusal), refusal).code,
            errc::refused);
}

}  // namespace
}  // namespace ferry
