#include "shm/segment.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#include "shm/socket.h"
#include "tests/unit/shm/child.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FERRY_TEST_SANITIZED 1  // its shadow memory does not fit under RLIMIT_AS
#else
#define FERRY_TEST_SANITIZED 0
#endif

namespace ferry {
namespace {

constexpr std::size_t page = 4096;
constexpr int all_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;

own_segment sealed_segment(std::size_t size_bytes) {
  auto made = own_segment::create("test", size_bytes);
  EXPECT_TRUE(made) << made.error().message();
  EXPECT_TRUE(made->seal());
  return std::move(*made);
}

unique_fd raw_memfd(std::size_t size_bytes, int seals, bool with_pages = true) {
  unique_fd fd(::memfd_create("raw", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size_bytes)), 0);
  if (with_pages && size_bytes > 0) {
    EXPECT_EQ(::fallocate(fd.get(), 0, 0, static_cast<off_t>(size_bytes)), 0);
  }
  if (seals != 0) {
    EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  }
  return fd;
}

void expect_rejected(const unique_fd& fd, const char* why, std::size_t size_bytes = page) {
  const auto mapped = peer_segment::map(fd, size_bytes);
  ASSERT_FALSE(mapped);
  EXPECT_EQ(mapped.error().code, errc::corrupt);
  EXPECT_NE(std::strstr(mapped.error().what, why), nullptr) << mapped.error().what;
}

// Everything that could change the memory, tried through one descriptor. 0 = all of it was refused.
int attack(int fd) {
  char byte = 'x';
  CHILD_EXPECT(::write(fd, &byte, 1) < 0);
  CHILD_EXPECT(::pwrite(fd, &byte, 1, 0) < 0);
  CHILD_EXPECT(::ftruncate(fd, 0) < 0);
  CHILD_EXPECT(::ftruncate(fd, 1 << 20) < 0);
  CHILD_EXPECT(::fallocate(fd, 0, 0, 1 << 20) < 0);
  CHILD_EXPECT(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, page) < 0);
  CHILD_EXPECT(::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
  CHILD_EXPECT(::fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0);  // would spoil the owner's own map
  void* view = ::mmap(nullptr, page, PROT_READ, MAP_SHARED, fd, 0);
  CHILD_EXPECT(view != MAP_FAILED);
  CHILD_EXPECT(::mprotect(view, page, PROT_READ | PROT_WRITE) < 0);
  CHILD_EXPECT(::madvise(view, page, MADV_REMOVE) < 0);
  ::munmap(view, page);
  return 0;
}

TEST(own_segment, rounds_up_to_whole_pages_of_zeros_and_stays_writable_when_sealed) {
  auto mine = sealed_segment(page + 1);
  EXPECT_EQ(mine.size(), 2 * page);
  EXPECT_EQ(mine.bytes()[2 * page - 1], std::byte{0});
  EXPECT_TRUE(mine.seal());  // again
  mine.populate(1, 2 * page);
  mine.populate(4 * page, 1);  // outside: nothing happens
  mine.bytes()[page] = std::byte{7};
  EXPECT_EQ(mine.bytes()[page], std::byte{7});
}

TEST(own_segment, refuses_sizes_that_cannot_be) {
  EXPECT_EQ(own_segment::create("test", 0).error().code, errc::bad_argument);
  EXPECT_EQ(own_segment::create("test", SIZE_MAX).error().code, errc::bad_argument);
  const auto huge = own_segment::create("test", std::size_t{1} << 50);
  ASSERT_FALSE(huge);
  EXPECT_EQ(huge.error().code, errc::no_memory) << huge.error().message();
  EXPECT_EQ(huge.error().wanted, std::uint64_t{1} << 50);
  EXPECT_GT(huge.error().allowed, 0u);
}

TEST(own_segment, is_not_inherited_by_a_forked_child) {
  auto mine = sealed_segment(page);
  EXPECT_EQ(run_in_child([&] {
              unsigned char resident = 0;  // mincore fails where nothing is mapped
              CHILD_EXPECT(::mincore(mine.bytes().data(), page, &resident) < 0 && errno == ENOMEM);
              return 0;
            }),
            0);
}

TEST(own_segment, a_peer_cannot_change_it_through_the_passed_descriptor_or_a_reopened_one) {
  auto ends = socket_pair();
  ASSERT_TRUE(ends);
  auto mine = sealed_segment(page);
  mine.bytes()[0] = std::byte{42};
  const std::array<int, 1> fds{mine.fd()};
  const std::array<std::byte, 1> note{};
  ASSERT_TRUE(send_packet(ends->first.get(), note, fds));
  EXPECT_EQ(run_in_child([&] {
              std::array<std::byte, 8> buffer{};
              auto got = receive_packet(ends->second.get(), buffer);
              CHILD_EXPECT(got && got->fd_count == 1);
              CHILD_EXPECT(attack(got->fds[0].get()) == 0);
              const std::string path = "/proc/self/fd/" + std::to_string(got->fds[0].get());
              const unique_fd reopened(::open(path.c_str(), O_RDWR | O_CLOEXEC));
              if (reopened) CHILD_EXPECT(attack(reopened.get()) == 0);
              CHILD_EXPECT(::truncate(path.c_str(), 0) < 0);
              const unique_fd cut(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_TRUNC));
              struct stat info {};
              CHILD_EXPECT(::fstat(got->fds[0].get(), &info) == 0 && info.st_size == page);
              const auto view = peer_segment::map(got->fds[0], page);
              CHILD_EXPECT(view && view->bytes()[0] == std::byte{42});
              return 0;
            }),
            0);
  EXPECT_EQ(mine.bytes()[0], std::byte{42});
}

TEST(own_segment, even_its_owner_cannot_change_it_but_through_the_mapping) {
  auto mine = sealed_segment(page);
  EXPECT_EQ(attack(mine.fd()), 0);
}

TEST(own_segment, a_failed_create_leaves_no_descriptor) {
  const std::size_t before = open_descriptors();
  EXPECT_FALSE(own_segment::create(std::string(300, 'n').c_str(), page));
  EXPECT_EQ(open_descriptors(), before);
}

TEST(own_segment, names_the_file_size_limit_instead_of_dying_of_its_signal) {
  EXPECT_EQ(run_in_child([] {
              const rlimit small{8 * page, 8 * page};
              CHILD_EXPECT(::setrlimit(RLIMIT_FSIZE, &small) == 0);
              CHILD_EXPECT(own_segment::create("test", 8 * page));
              const auto made = own_segment::create("test", 9 * page);
              CHILD_EXPECT(!made && made.error().code == errc::limit);
              CHILD_EXPECT(std::strstr(made.error().what, "RLIMIT_FSIZE") != nullptr);
              CHILD_EXPECT(made.error().wanted == 9 * page && made.error().allowed == 8 * page);
              return 0;
            }),
            0);
}

TEST(own_segment, names_the_descriptor_limit) {
  EXPECT_EQ(run_in_child([] {
              const rlimit none{3, 3};
              CHILD_EXPECT(::setrlimit(RLIMIT_NOFILE, &none) == 0);
              const auto made = own_segment::create("test", page);
              CHILD_EXPECT(!made && made.error().code == errc::limit);
              CHILD_EXPECT(std::strstr(made.error().what, "RLIMIT_NOFILE") != nullptr);
              return 0;
            }),
            0);
}

TEST(own_segment, names_the_address_space_limit) {
  if (FERRY_TEST_SANITIZED) GTEST_SKIP() << "expected: a sanitizer needs the address space";
  EXPECT_EQ(run_in_child([] {
              const rlimit tight{64u << 20, 64u << 20};
              CHILD_EXPECT(::setrlimit(RLIMIT_AS, &tight) == 0);
              const auto made = own_segment::create("test", 64u << 20);
              CHILD_EXPECT(!made && made.error().code == errc::limit);
              CHILD_EXPECT(std::strstr(made.error().what, "RLIMIT_AS") != nullptr);
              CHILD_EXPECT(made.error().allowed < made.error().wanted);
              return 0;
            }),
            0);
}

TEST(own_segment, says_refused_when_a_filter_denies_memfd) {
  for (const unsigned denial : {unsigned{EPERM}, unsigned{ENOSYS}}) {
    EXPECT_EQ(run_in_child([denial] {
                std::array<sock_filter, 4> rules{{
                    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 0, 1),
                    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | denial),
                    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                }};
                const sock_fprog filter{static_cast<unsigned short>(rules.size()), rules.data()};
                CHILD_EXPECT(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
                CHILD_EXPECT(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
                const auto made = own_segment::create("test", page);
                CHILD_EXPECT(!made && made.error().code == errc::refused);
                CHILD_EXPECT(std::strstr(made.error().what, "seccomp") != nullptr);
                return 0;
              }),
              0);
  }
}

TEST(peer_segment, shows_what_the_owner_writes_after_the_descriptor_is_closed) {
  auto mine = sealed_segment(2 * page);
  unique_fd passed(::dup(mine.fd()));
  auto theirs = peer_segment::map(passed, 2 * page);
  ASSERT_TRUE(theirs) << theirs.error().message();
  passed = {};
  theirs->populate_read(0, 2 * page);
  mine.bytes()[page + 1] = std::byte{9};
  EXPECT_EQ(theirs->bytes()[page + 1], std::byte{9});
  EXPECT_EQ(theirs->bytes().size(), 2 * page);
}

TEST(peer_segment, stays_readable_after_its_owner_was_killed) {
  auto ends = socket_pair();
  ASSERT_TRUE(ends);
  const int ended = run_in_child([&] {
    auto mine = own_segment::create("test", page);
    CHILD_EXPECT(mine && mine->seal());
    std::memcpy(mine->bytes().data(), "left behind", 11);
    const std::array<int, 1> fds{mine->fd()};
    const std::array<std::byte, 1> note{};
    CHILD_EXPECT(send_packet(ends->first.get(), note, fds));
    return ::raise(SIGKILL);
  });
  ASSERT_EQ(ended, 1000 + SIGKILL);
  std::array<std::byte, 8> buffer{};
  auto got = receive_packet(ends->second.get(), buffer);
  ASSERT_TRUE(got);
  const auto view = peer_segment::map(got->fds[0], page);
  ASSERT_TRUE(view) << view.error().message();
  EXPECT_EQ(std::memcmp(view->bytes().data(), "left behind", 11), 0);
}

TEST(peer_segment, rejects_memory_that_lacks_any_of_the_seals) {
  expect_rejected(raw_memfd(page, 0), "not sealed");
  for (const int missing : {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL}) {
    expect_rejected(raw_memfd(page, all_seals & ~missing), "not sealed");
  }
  EXPECT_TRUE(peer_segment::map(raw_memfd(page, all_seals), page));
}

TEST(peer_segment, rejects_any_size_but_the_exact_one) {
  const auto three = raw_memfd(3 * page, all_seals);
  expect_rejected(three, "size", 2 * page);
  expect_rejected(three, "size", 4 * page);
  expect_rejected(three, "size", 3 * page - 1);
  expect_rejected(three, "no bytes", 0);
  expect_rejected(raw_memfd(0, all_seals), "no bytes", page);
}

TEST(peer_segment, rejects_memory_with_holes) {
  expect_rejected(raw_memfd(page, all_seals, false), "holes");
}

TEST(peer_segment, rejects_what_is_no_memfd_at_all) {
  std::array<int, 2> pipe_ends{};
  ASSERT_EQ(::pipe2(pipe_ends.data(), O_CLOEXEC), 0);
  const unique_fd reader(pipe_ends[0]);
  const unique_fd writer(pipe_ends[1]);
  expect_rejected(reader, "not a memfd");
  expect_rejected(unique_fd(::open("/dev/zero", O_RDWR | O_CLOEXEC)), "not a memfd");
  expect_rejected(unique_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)), "not a memfd");
  expect_rejected(unique_fd(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), "peer memory");
  expect_rejected(unique_fd(), "not a memfd");
  std::string path = testing::TempDir() + "segment_test_XXXXXX";
  const unique_fd file(::mkstemp(path.data()));
  ::unlink(path.c_str());
  ASSERT_EQ(::ftruncate(file.get(), page), 0);
  expect_rejected(file, "peer memory");
}

TEST(peer_segment, rejects_descriptors_that_cannot_be_read) {
  auto mine = sealed_segment(page);
  const std::string path = "/proc/self/fd/" + std::to_string(mine.fd());
  expect_rejected(unique_fd(::open(path.c_str(), O_PATH | O_CLOEXEC)), "not a memfd");
  expect_rejected(unique_fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC)), "not readable");
}

}  // namespace
}  // namespace ferry
