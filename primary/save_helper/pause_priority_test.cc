#include "primary/save_helper/pause_priority.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

namespace romulus {
namespace {

constexpr int kNotPermitted = 77;

// 0: both threads of this process have it, and would not pass it on to a child.
int TakeInProcessOfTwoThreads() {
  std::atomic<pid_t> other = 0;
  std::thread([&other] {
    other = gettid();
    while (true) pause();
  }).detach();
  while (other == 0) std::this_thread::yield();
  const absl::Status taken = TakePausePriority();
  if (absl::IsPermissionDenied(taken)) return kNotPermitted;
  if (!taken.ok()) return 1;
  constexpr int kExpected = SCHED_RR | SCHED_RESET_ON_FORK;
  if (sched_getscheduler(0) != kExpected) return 2;
  if (sched_getscheduler(other) != kExpected) return 3;
  return 0;
}

TEST(PausePriority, IsAllThreadsOfTheProcess) {
  // In a process of its own: the test goes on as it was.
  const pid_t child = fork();
  if (child == 0) _exit(TakeInProcessOfTwoThreads());
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == kNotPermitted) GTEST_SKIP() << "without CAP_SYS_NICE";
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
}

}  // namespace
}  // namespace romulus
