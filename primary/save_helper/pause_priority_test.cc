#include "primary/save_helper/pause_priority.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

namespace romulus {
namespace {

TEST(PausePriority, IsTheCallingThreadsAlone) {
  absl::Status taken;
  int policy = -1;
  // Of a thread of its own: the test goes on as it was.
  std::thread([&] {
    taken = TakePausePriority();
    policy = sched_getscheduler(0);
  }).join();
  if (absl::IsPermissionDenied(taken)) GTEST_SKIP() << taken;
  ASSERT_TRUE(taken.ok()) << taken;
  EXPECT_EQ(policy, SCHED_RR | SCHED_RESET_ON_FORK);
  EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
}

}  // namespace
}  // namespace romulus
