#include "engine/client/waiting_line.h"

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>

namespace ferry {
namespace {

using tried = waiting_line::tried;

// Notes what happens to it in a word that all share.
class waiter final : public waiting_line::entry {
 public:
  waiter(waiting_line& line, std::string& story, char name, bool large = false)
      : entry(large), line_(line), story_(story), name_(name) {
    line_.add(*this);
  }
  ~waiter() { line_.remove(*this); }

  using entry::ticket;
  tried outcome = tried::started;
  std::function<void()> on_resume = [] {};

 private:
  tried attempt() override {
    story_ += name_;
    if (outcome == tried::started || outcome == tried::ended) line_.remove(*this);
    return outcome;
  }
  void resume() override {
    story_ += '!';
    on_resume();
  }
  void give_up(call_error) override {
    line_.remove(*this);
    story_ += {'-', name_};
  }
  waiting_line& line_;
  std::string& story_;
  char name_;
};

TEST(waiting_line, tries_in_order_until_there_is_no_room) {
  waiting_line line;
  std::string story;
  EXPECT_FALSE(line.any());
  waiter a(line, story, 'a'), b(line, story, 'b', true), c(line, story, 'c'), d(line, story, 'd');
  EXPECT_TRUE(line.any());
  c.outcome = tried::no_place;
  EXPECT_FALSE(line.serve());  // a place is not for the peer to give
  EXPECT_EQ(story, "abc");
  story.clear();
  c.outcome = tried::no_room;
  EXPECT_TRUE(line.serve());
  EXPECT_EQ(story, "c");
  story.clear();
  c.outcome = tried::ended;
  EXPECT_FALSE(line.serve());
  EXPECT_EQ(story, "c!d");
  EXPECT_FALSE(line.any());
}

TEST(waiting_line, lets_small_ones_pass_those_that_lack_memory) {
  waiting_line line;
  std::string story;
  waiter a(line, story, 'a', true), b(line, story, 'b', true), c(line, story, 'c'),
      d(line, story, 'd');
  a.outcome = b.outcome = tried::no_memory;
  d.outcome = tried::no_place;
  EXPECT_TRUE(line.serve());
  EXPECT_EQ(story, "acd");  // b would not get any either
  story.clear();
  a.outcome = b.outcome = d.outcome = tried::started;
  EXPECT_FALSE(line.serve());
  EXPECT_EQ(story, "abd");
}

TEST(waiting_line, forgets_who_leaves_from_any_place_in_it) {
  for (int leaver = 0; leaver < 3; ++leaver) {
    waiting_line line;
    std::string story;
    std::optional<waiter> all[3];
    for (int i = 0; i < 3; ++i) all[i].emplace(line, story, static_cast<char>('a' + i));
    const auto ticket = all[leaver]->ticket();
    EXPECT_EQ(line.find(ticket), &*all[leaver]);
    all[leaver].reset();
    EXPECT_EQ(line.find(ticket), nullptr);
    EXPECT_FALSE(line.serve());
    EXPECT_EQ(story.size(), 2u);
    EXPECT_FALSE(line.any());
  }
}

TEST(waiting_line, goes_on_though_one_ends_others_or_comes_again) {
  waiting_line line;
  std::string story;
  std::optional<waiter> a, b, c;
  a.emplace(line, story, 'a');
  b.emplace(line, story, 'b');
  a->outcome = tried::ended;
  a->on_resume = [&] {
    b.reset();
    c.emplace(line, story, 'c');
  };
  EXPECT_FALSE(line.serve());
  EXPECT_EQ(story, "a!c");
}

TEST(waiting_line, is_called_once_until_it_is_served) {
  waiting_line line;
  std::string story;
  EXPECT_FALSE(line.call());  // nobody waits
  waiter a(line, story, 'a');
  a.outcome = tried::no_place;
  EXPECT_TRUE(line.call());
  EXPECT_FALSE(line.call());
  line.serve();
  EXPECT_TRUE(line.call());
  line.end_all({errc::closed, "over", false});
  EXPECT_EQ(story, "a-a");
  EXPECT_FALSE(line.any());
}

}  // namespace
}  // namespace ferry
