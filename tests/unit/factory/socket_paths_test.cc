#include "engine/channel/factory/socket_paths.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <random>
#include <set>
#include <vector>

#include "tests/unit/factory/fake_world.h"
#include "tests/unit/factory/scratch_folder.h"

namespace ferry {
namespace {

struct sockets : testing::Test {  // fixture: a runtime directory of its own
  scratch_folder scratch;
  socket_place place{.runtime_dir = scratch.path(), .temp_dir = scratch.path()};

  static socket_paths must(result<socket_paths, channel_error> opened) {
    EXPECT_TRUE(opened) << opened.error().message();
    return std::move(*opened);
  }
  socket_paths paths() { return must(socket_paths::open(place)); }
};

std::string long_id(char last) { return std::string(63, 'x') + last; }

TEST_F(sockets, lie_in_the_users_runtime_directory) {
  const auto opened = paths();
  EXPECT_EQ(opened.directory().path(), scratch / "ferry");
  EXPECT_EQ(mode_of(scratch / "ferry"), 0700u);
  EXPECT_EQ(*opened.path_for(instance_of("process:job")), scratch / "ferry/process-job.sock");
  EXPECT_EQ(*opened.path_for(instance_of("blue:wasm:job"), socket_paths::packet_ending),
            scratch / "ferry/blue-wasm-job.shm");
}

TEST_F(sockets, have_one_path_however_the_directory_is_written) {
  const std::string path = *paths().path_for(instance_of("process:job"));
  place.runtime_dir += "//";
  EXPECT_EQ(*paths().path_for(instance_of("process:job")), path);
}

TEST_F(sockets, lie_in_a_private_directory_named_with_the_uid_otherwise) {
  const std::string expected = scratch / ("ferry-" + std::to_string(::geteuid()));
  for (const char* const useless : {"", "relative/path", "/nowhere/at/all", "/proc/version"}) {
    place.runtime_dir = useless;
    EXPECT_EQ(paths().directory().path(), expected) << useless;
  }
  EXPECT_EQ(mode_of(expected), 0700u);
}

TEST_F(sockets, do_not_lie_in_the_runtime_directory_of_another_user) {
  if (::geteuid() != 0) GTEST_SKIP() << "expected: only root can make a directory of another user";
  const std::string theirs = scratch / "theirs";
  ASSERT_EQ(::mkdir(theirs.c_str(), 0700), 0);
  ASSERT_EQ(::chown(theirs.c_str(), 4711, 4711), 0);
  place.runtime_dir = theirs;
  EXPECT_EQ(paths().directory().path(), scratch / "ferry-0");
}

TEST_F(sockets, are_refused_a_directory_that_somebody_made_first) {
  place.runtime_dir.clear();
  const std::string taken = scratch / ("ferry-" + std::to_string(::geteuid()));
  ASSERT_EQ(::symlink("elsewhere", taken.c_str()), 0);
  const auto opened = socket_paths::open(place);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, errc::refused);
  EXPECT_EQ(opened.error().text, taken + ": is a symbolic link");
}

TEST_F(sockets, of_different_instances_and_kinds_never_share_a_path) {
  const auto opened = paths();
  std::set<std::string> seen;
  std::size_t count = 0;
  const std::vector<std::string> parts{
      "a",       "a-b",         "b",    "-",          "--",     "a-",    "-a",
      "process", "process-a",   "wasm", "kubernetes", "a.sock", "a.shm", "process-process",
      "_",       "a-process-b", "b-a",  "wasm-a",     "a-wasm", ".a",    "a.b-c"};
  for (const char* const type : {"process", "wasm", "kubernetes"}) {
    for (const std::string& id : parts) {
      for (const std::string& space : parts) {
        for (const std::string_view ending : {".sock", ".shm", ".tcp"}) {
          const auto instance = instance_of((space + ":" + type + ":" + id).c_str());
          seen.insert(*opened.path_for(instance, ending));
          ++count;
        }
      }
      seen.insert(*opened.path_for(instance_of((std::string(type) + ":" + id).c_str())));
      ++count;
    }
  }
  EXPECT_EQ(seen.size(), count);
}

TEST_F(sockets, of_random_instances_never_share_a_path_and_always_fit) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto part = [&random](std::size_t longest) {
    std::string text(1 + random() % longest, 'x');
    for (char& c : text) c = "a-."[random() % 3];
    return is_valid_id_part(text) ? text : "b" + text.substr(1);
  };
  const auto opened = paths();
  std::set<std::string> ids, seen;
  for (int i = 0; i < 2000; ++i) {
    const std::size_t longest = i % 4 == 0 ? 64 : 4;
    const std::string space = random() % 2 == 0 ? part(longest) + ":" : "";
    const auto id = runtime_instance_id::parse(space + "process:" + part(longest));
    ASSERT_TRUE(id);
    const auto path = opened.path_for(*id);
    ASSERT_TRUE(path) << path.error().message();
    EXPECT_LE(path->size(), socket_paths::max_path_bytes);
    ids.insert(id->full_id());
    seen.insert(*path);
  }
  EXPECT_EQ(seen.size(), ids.size());
}

TEST_F(sockets, take_a_hash_where_the_name_has_no_room_and_a_side_file_says_whose) {
  const auto opened = paths();
  const auto instance = instance_of((long_id('a') + ":process:" + long_id('a')).c_str());
  const auto path = opened.path_for(instance);
  ASSERT_TRUE(path);
  const std::string hashed = "hash~" + name_hash(instance.full_id());
  EXPECT_EQ(*path, scratch / ("ferry/" + hashed + ".sock"));
  EXPECT_EQ(*opened.directory().read(hashed + ".id"), instance.full_id());
  EXPECT_EQ(*opened.path_for(instance), *path);  // and it is the same for whoever asks next
  EXPECT_NE(*opened.path_for(instance_of((long_id('a') + ":process:" + long_id('b')).c_str())),
            *path);
  opened.release(instance);
  EXPECT_EQ(opened.directory().read(hashed + ".id").error().code, errc::empty);
}

TEST_F(sockets, are_refused_to_the_second_of_two_instances_with_one_hash) {
  const auto opened =
      must(socket_paths::open(place, [](std::string_view) { return std::string(32, '0'); }));
  const auto first = instance_of((long_id('a') + ":process:" + long_id('a')).c_str());
  const auto second = instance_of((long_id('b') + ":process:" + long_id('b')).c_str());
  ASSERT_TRUE(opened.path_for(first));
  const auto refused = opened.path_for(second);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::refused);
  EXPECT_NE(refused.error().text.find("stands for " + first.full_id()), std::string::npos);
  opened.release(second);  // which has nothing to release
  EXPECT_FALSE(opened.path_for(second));
  opened.release(first);
  EXPECT_TRUE(opened.path_for(second));
}

TEST_F(sockets, begin_to_take_hashes_exactly_where_a_sun_path_ends) {
  const auto opened = paths();
  const std::size_t rest =
      socket_paths::max_path_bytes - (opened.directory().path() + "/-process-.sock").size() - 32;
  const auto of_length = [&](std::size_t extra) {
    return opened.path_for(
        instance_of((std::string(rest + extra, 'n') + ":process:" + std::string(32, 'i')).c_str()));
  };
  ASSERT_GT(rest, 0u);
  EXPECT_EQ(of_length(0)->size(), socket_paths::max_path_bytes);
  EXPECT_EQ(of_length(0)->find("hash~"), std::string::npos);
  EXPECT_NE(of_length(1)->find("hash~"), std::string::npos);
}

TEST_F(sockets, are_refused_a_directory_too_long_even_for_a_hash) {
  place.runtime_dir = scratch / std::string(60, 'd');
  ASSERT_EQ(::mkdir(place.runtime_dir.c_str(), 0700), 0);
  const auto opened = socket_paths::open(place);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, errc::limit);
}

TEST_F(sockets, have_endings_that_cannot_lead_elsewhere) {
  const auto opened = paths();
  for (const std::string_view bad :
       {"", ".", "sock", "./x", ".a/b", ".a.b", ".A", ".id", ".aaaaaaaaaaaaaaaa", "..", ".a-b"}) {
    const auto path = opened.path_for(instance_of("process:a"), bad);
    ASSERT_FALSE(path) << bad;
    EXPECT_EQ(path.error().code, errc::invalid_configuration);
  }
}

TEST(instance_ids, that_could_lead_elsewhere_are_refused_before_they_become_paths) {
  using namespace std::string_view_literals;
  for (const std::string_view bad : {"a/b"sv, "/"sv, ".."sv, "."sv, ""sv, "a\0b"sv, "a b"sv}) {
    EXPECT_FALSE(runtime_instance_id::make(runtime_type::process, bad));
  }
  EXPECT_FALSE(runtime_instance_id::make(runtime_type::process, std::string(200, 'x')));
}

TEST(name_hash, is_fnv_1a_of_128_bits) {
  EXPECT_EQ(name_hash(""), "6c62272e07bb014262b821756295c58d");
  EXPECT_EQ(name_hash("a"), "d228cb696f1a8caf78912b704e4a8964");
  EXPECT_EQ(name_hash("foobar"), "343e1662793c64bf6f0d3597ba446f18");
}

}  // namespace
}  // namespace ferry
