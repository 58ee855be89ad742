#include "engine/channel/factory/address_board.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/channel/factory/publisher.h"
#include "tests/unit/factory/fake_world.h"
#include "tests/unit/factory/scratch_folder.h"

namespace ferry {
namespace {

struct board : testing::Test {  // fixture: a board in a folder of its own
  scratch_folder scratch;
  socket_paths paths = *socket_paths::open({.runtime_dir = scratch.path()});
  address_board addresses{paths};
  runtime_instance_id job = instance_of("process:job-7");
};

TEST_F(board, finds_what_was_published_last) {
  EXPECT_EQ(addresses.find(job, "tcp").error().code, errc::connection_failed);
  ASSERT_TRUE(addresses.publish(job, "tcp", "127.0.0.1:4711"));
  ASSERT_TRUE(addresses.publish(job, "tcp", "127.0.0.1:4712"));
  ASSERT_TRUE(addresses.publish(job, "grpc", "http://127.0.0.1:1"));
  EXPECT_EQ(*address_board(paths).find(job, "tcp"), "127.0.0.1:4712");
  EXPECT_EQ(*addresses.find(job, "grpc"), "http://127.0.0.1:1");
}

TEST_F(board, believes_nothing_of_a_process_that_has_ended) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ::_exit(addresses.publish(job, "tcp", "127.0.0.1:4711") ? 0 : 1);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  const auto found = addresses.find(job, "tcp");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, errc::connection_failed);
  EXPECT_NE(found.error().text.find("has ended"), std::string::npos) << found.error().text;
  ASSERT_TRUE(addresses.publish(job, "tcp", "127.0.0.1:4711"));
  EXPECT_TRUE(addresses.find(job, "tcp"));
}

TEST_F(board, tells_a_process_from_one_that_got_its_number) {
  const auto self = publisher::self();
  ASSERT_TRUE(self);
  EXPECT_FALSE(self->has_ended());
  publisher earlier = *self, elsewhere = *self;
  --earlier.started;
  EXPECT_TRUE(earlier.has_ended());
  elsewhere.started = 1;
  ++elsewhere.pid_namespace;  // where that number means another process
  EXPECT_FALSE(elsewhere.has_ended());
  EXPECT_EQ(publisher::parse(self->text())->started, self->started);
  for (const char* const bad : {"", "x", "1 2", "-1 2 3", "0 2 3"}) {
    EXPECT_FALSE(publisher::parse(bad)) << bad;
  }
}

TEST_F(board, keeps_instances_apart) {
  ASSERT_TRUE(addresses.publish(job, "tcp", "127.0.0.1:4711"));
  EXPECT_FALSE(addresses.find(instance_of("a:process:job-7"), "tcp"));
  EXPECT_FALSE(addresses.find(instance_of("process:job.7"), "tcp"));
}

TEST_F(board, forgets_what_is_withdrawn) {
  ASSERT_TRUE(addresses.publish(job, "tcp", "127.0.0.1:4711"));
  addresses.withdraw(job, "tcp");
  addresses.withdraw(job, "tcp");
  EXPECT_EQ(addresses.find(job, "tcp").error().code, errc::connection_failed);
}

TEST_F(board, takes_and_gives_nothing_that_is_no_address) {
  for (const std::string& bad : {std::string(), std::string(256, 'x'), std::string("a b"),
                                 std::string("a\nb"), std::string("\x80")}) {
    EXPECT_EQ(addresses.publish(job, "tcp", bad).error().code, errc::invalid_configuration);
  }
  ASSERT_TRUE(addresses.publish(job, "tcp", std::string(255, 'x')));
  ASSERT_TRUE(paths.directory().write("process-job~7.tcp", "not\nan address"));
  EXPECT_EQ(addresses.find(job, "tcp").error().code, errc::corrupt);
}

TEST_F(board, cannot_be_used_to_touch_sockets) {
  for (const char* const ending : {"sock", "shm", "id", "../x", ""}) {
    EXPECT_EQ(addresses.publish(job, ending, "x").error().code, errc::invalid_configuration);
  }
}

}  // namespace
}  // namespace ferry
