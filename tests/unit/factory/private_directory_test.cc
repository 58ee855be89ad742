#include "engine/channel/factory/private_directory.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>
#include <vector>

#include "tests/unit/factory/scratch_folder.h"

namespace ferry {
namespace {

struct private_directory_in : testing::Test {  // fixture: a folder, and a name in it
  scratch_folder scratch;
  std::string path = scratch / "private";

  std::string refusal() {
    const auto opened = private_directory::open(path);
    if (opened) return "none";
    EXPECT_EQ(opened.error().code, errc::refused);
    return opened.error().text;
  }
};

TEST_F(private_directory_in, is_made_for_us_alone_whatever_the_umask_says) {
  const mode_t old = ::umask(0);
  const auto made = private_directory::open(path);
  ::umask(old);
  ASSERT_TRUE(made);
  EXPECT_EQ(mode_of(path), 0700u);
  EXPECT_TRUE(private_directory::open(path));  // and is taken as it is the next time
}

TEST_F(private_directory_in, is_refused_when_others_can_enter_it) {
  ASSERT_EQ(::mkdir(path.c_str(), 0700), 0);
  for (const mode_t mode : {0701u, 0710u, 0704u, 0720u, 0755u, 0777u}) {
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    EXPECT_NE(refusal().find("and not 0700"), std::string::npos);
  }
}

TEST_F(private_directory_in, is_refused_when_it_is_a_link_even_to_a_good_one) {
  ASSERT_TRUE(private_directory::open(scratch / "good"));
  ASSERT_EQ(::symlink("good", path.c_str()), 0);
  EXPECT_EQ(refusal(), path + ": is a symbolic link");
}

TEST_F(private_directory_in, is_refused_when_it_is_a_file) {
  std::ofstream(path) << "x";
  EXPECT_EQ(refusal(), path + ": is not a directory");
}

TEST_F(private_directory_in, is_refused_when_it_is_somebody_elses) {
  if (::geteuid() != 0) GTEST_SKIP() << "expected: only root can make a directory of another user";
  ASSERT_EQ(::mkdir(path.c_str(), 0700), 0);
  ASSERT_EQ(::chown(path.c_str(), 4711, 4711), 0);
  EXPECT_EQ(refusal(), path + ": belongs to user 4711");
}

TEST_F(private_directory_in, needs_the_folder_above_it) {
  const auto made = private_directory::open(scratch / "missing/private");
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, errc::system);
}

TEST_F(private_directory_in, keeps_small_files) {
  const auto folder = private_directory::open(path);
  ASSERT_TRUE(folder);
  EXPECT_EQ(folder->read("a").error().code, errc::empty);
  ASSERT_TRUE(folder->write("a", "first"));
  ASSERT_TRUE(folder->write("a", "second"));
  EXPECT_EQ(*folder->read("a"), "second");
  EXPECT_EQ(mode_of(path + "/a"), 0600u);
  EXPECT_FALSE(*folder->create("a", "third"));
  EXPECT_EQ(*folder->read("a"), "second");
  EXPECT_TRUE(*folder->create("b", "third"));
  folder->remove("a");
  folder->remove("a");
  EXPECT_EQ(folder->read("a").error().code, errc::empty);
  // No draft is left.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(path), {}), 1);
}

TEST_F(private_directory_in, refuses_to_read_what_is_no_small_plain_file) {
  const auto folder = private_directory::open(path);
  ASSERT_TRUE(folder);
  ASSERT_TRUE(folder->write("full", std::string(private_directory::max_file_bytes, 'x')));
  EXPECT_EQ(folder->read("full")->size(), private_directory::max_file_bytes);
  ASSERT_TRUE(folder->write("large", std::string(private_directory::max_file_bytes + 1, 'x')));
  EXPECT_EQ(folder->read("large").error().code, errc::corrupt);
  ASSERT_EQ(::mkfifo((path + "/fifo").c_str(), 0600), 0);
  EXPECT_EQ(folder->read("fifo").error().code, errc::corrupt);
  ASSERT_EQ(::symlink("full", (path + "/link").c_str()), 0);
  EXPECT_EQ(folder->read("link").error().code, errc::system);
}

TEST_F(private_directory_in, lets_one_of_many_create_a_file_and_all_see_it_whole) {
  const auto folder = private_directory::open(path);
  ASSERT_TRUE(folder);
  std::atomic<int> created = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, text = std::string(1000, static_cast<char>('a' + i))] {
        for (int round = 0; round < 50; ++round) {
          const std::string name = "f" + std::to_string(round);
          const auto mine = folder->create(name, text);
          ASSERT_TRUE(mine);
          if (*mine) ++created;
          const auto seen = folder->read(name);
          ASSERT_TRUE(seen);
          EXPECT_EQ(*seen, std::string(1000, seen->front()));
        }
      });
    }
  }
  EXPECT_EQ(created, 50);
}

}  // namespace
}  // namespace ferry
