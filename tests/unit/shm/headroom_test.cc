#include "shm/headroom.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace ferry {
namespace {

constexpr std::uint64_t mb = 1u << 20;

class headroom : public testing::Test {  // fixture: an empty machine in a folder of its own
 protected:
  headroom() {
    std::string pattern = testing::TempDir() + "headroom_test_XXXXXX";
    root_ = ::mkdtemp(pattern.data());
    write("meminfo", "MemTotal: 9 kB\nMemAvailable:  1048576 kB\n");  // 1 GiB
  }
  ~headroom() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void v2(const std::string& folder, const std::string& max, std::uint64_t current,
          std::uint64_t inactive_file = 0) {
    write(folder + "/memory.max", max + "\n");
    write(folder + "/memory.current", std::to_string(current) + "\n");
    write(folder + "/memory.stat",
          "anon 1\ninactive_file " + std::to_string(inactive_file) + "\nactive_file 7\n");
  }
  void v1(const std::string& folder, const std::string& max, std::uint64_t usage,
          std::uint64_t inactive_file = 0) {
    write(folder + "/memory.limit_in_bytes", max + "\n");
    write(folder + "/memory.usage_in_bytes", std::to_string(usage) + "\n");
    write(folder + "/memory.stat",
          "inactive_file 5\ntotal_inactive_file " + std::to_string(inactive_file) + "\n");
  }
  memory_headroom read() {
    return read_headroom((root_ / "self").c_str(), (root_ / "fs").c_str(),
                         (root_ / "meminfo").c_str());
  }

  std::filesystem::path root_;
};

TEST_F(headroom, without_cgroups_is_what_the_machine_has) {
  EXPECT_EQ(read().bytes, 1024 * mb);
  EXPECT_STREQ(read().named_by, "machine memory (MemAvailable)");
}

TEST_F(headroom, without_anything_to_read_is_unbounded) {
  std::filesystem::remove(root_ / "meminfo");
  EXPECT_EQ(read().bytes, UINT64_MAX);
}

TEST_F(headroom, of_version_2_is_the_limit_less_the_use_plus_reclaimable_cache) {
  write("self", "0::/app\n");
  v2("fs/app", std::to_string(100 * mb), 60 * mb, 10 * mb);
  EXPECT_EQ(read().bytes, 50 * mb);
  EXPECT_STREQ(read().named_by, "memory cgroup headroom (memory.max)");
}

TEST_F(headroom, takes_the_tightest_ancestor) {
  write("self", "0::/a/b/c\n");
  v2("fs/a/b/c", "max", 1);
  v2("fs/a/b", std::to_string(500 * mb), 100 * mb);
  v2("fs/a", std::to_string(300 * mb), 280 * mb);
  EXPECT_EQ(read().bytes, 20 * mb);
}

TEST_F(headroom, ignores_max_and_files_that_are_missing) {
  write("self", "0::/a/b\n");
  v2("fs/a/b", "max", 700 * mb);
  write("fs/a/cgroup.procs", "");
  EXPECT_EQ(read().bytes, 1024 * mb);
}

TEST_F(headroom, is_nothing_when_the_use_is_above_the_limit) {
  write("self", "0::/a\n");
  v2("fs/a", std::to_string(10 * mb), 12 * mb, 1 * mb);
  EXPECT_EQ(read().bytes, 0u);
}

TEST_F(headroom, does_not_grow_when_more_is_reclaimable_than_used) {
  write("self", "0::/a\n");
  v2("fs/a", std::to_string(10 * mb), 1 * mb, 5 * mb);
  EXPECT_EQ(read().bytes, 10 * mb);
}

TEST_F(headroom, of_a_container_that_does_not_see_its_path_is_that_of_the_mounts_root) {
  v2("fs", std::to_string(64 * mb), 4 * mb);
  v2("elsewhere", std::to_string(2 * mb), 1 * mb);
  for (const char* path : {"0::/docker/0123\n", "0::/\n", "0::/../elsewhere\n", "0::/..\n"}) {
    write("self", path);
    EXPECT_EQ(read().bytes, 60 * mb) << path;
  }
}

TEST_F(headroom, of_version_1_reads_the_memory_hierarchy) {
  write("self", "9:cpu,cpuacct:/x\n4:memory:/a/b\n1:name=systemd:/a/b\n");
  v1("fs/memory/a/b", "9223372036854771712", 1);  // how version 1 writes "no limit"
  v1("fs/memory/a", std::to_string(100 * mb), 70 * mb, 20 * mb);
  EXPECT_EQ(read().bytes, 50 * mb);
  EXPECT_STREQ(read().named_by, "memory cgroup headroom (memory.limit_in_bytes)");
}

TEST_F(headroom, of_version_1_in_a_container_falls_back_to_the_root_of_the_mount) {
  write("self", "4:hugetlb,memory:/docker/0123\n");
  v1("fs/memory", std::to_string(32 * mb), 2 * mb);
  EXPECT_EQ(read().bytes, 30 * mb);
}

TEST_F(headroom, of_a_hybrid_machine_is_the_tighter_of_both) {
  write("self", "4:memory:/a\n0::/a\n");
  v1("fs/memory/a", std::to_string(100 * mb), 50 * mb);
  write("fs/unified/a/cgroup.procs", "");  // version 2 without the memory controller
  EXPECT_EQ(read().bytes, 50 * mb);
  v2("fs/unified/a", std::to_string(40 * mb), 10 * mb);
  EXPECT_EQ(read().bytes, 30 * mb);
}

TEST_F(headroom, survives_files_full_of_nonsense) {
  write("self", "\n::\n0:\nmemory\n0::\n4:memory:\n" + std::string(100'000, 'x'));
  v2("fs", "-5 what", 3);
  v1("fs/memory", "", 3);
  write("meminfo", "MemAvailable:\nMemAvailable: lots");
  EXPECT_EQ(read().bytes, UINT64_MAX);
}

TEST(headroom_here, is_more_than_nothing_on_this_machine) {
  EXPECT_GT(read_headroom().bytes, headroom_reserve_bytes);
}

}  // namespace
}  // namespace ferry
