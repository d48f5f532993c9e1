#include "common/loop/event_loop.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <string>
#include <thread>

namespace romulus {
namespace {

TEST(EventLoop, RunsPostedTasksInOrderFromAnyThread) {
  auto loop = *EventLoop::New();
  std::string order;
  std::thread other([&] {
    loop->Post([&] { order += "a"; });
    loop->Post([&] { order += "b"; });
    loop->Quit();
  });
  loop->Run();
  other.join();
  EXPECT_EQ(order, "ab");
}

TEST(EventLoop, WhatIsPostedAtAnyMomentRuns) {
  auto loop = *EventLoop::New();
  constexpr int kEach = 20'000;
  int ran = 0;
  const auto count = [&] {
    if (++ran == 3 * kEach) loop->Quit();
  };
  // From two threads, and of each task that they post, from the loop itself every second time.
  const auto post = [&](int tasks) {
    for (int i = 0; i < tasks; ++i) {
      loop->Post([&, i] {
        count();
        if (i % 2 == 0) loop->Post(count);
      });
      if (i % 64 == 0) std::this_thread::yield();
    }
  };
  std::thread a(post, kEach), b(post, kEach);
  loop->Run();
  a.join();
  b.join();
  EXPECT_EQ(ran, 3 * kEach);
}

TEST(EventLoop, RunsTimersByDeadlineAndNeverEarly) {
  auto loop = *EventLoop::New();
  std::string order;
  const absl::Duration start = loop->Now();
  loop->After(absl::Milliseconds(20), [&] {
    order += "late";
    EXPECT_GE(loop->Now() - start, absl::Milliseconds(20));
    loop->Quit();
  });
  loop->After(absl::Milliseconds(1), [&] { order += "soon "; });
  loop->Run();
  EXPECT_EQ(order, "soon late");
}

TEST(EventLoop, ACancelledTimerDoesNotRun) {
  auto loop = *EventLoop::New();
  bool ran = false;
  const Scheduler::TimerId cancelled = loop->After(absl::Milliseconds(1), [&] { ran = true; });
  // Due in the same round as the one that it cancels.
  loop->After(absl::ZeroDuration(), [&] { loop->Cancel(cancelled); });
  loop->After(absl::Milliseconds(5), [&] { loop->Quit(); });
  loop->Run();
  EXPECT_FALSE(ran);
}

TEST(EventLoop, AWatchMayEndItself) {
  auto loop = *EventLoop::New();
  UniqueFd event(eventfd(1, EFD_NONBLOCK));
  int calls = 0;
  loop->WatchReadable(event.get(), [&] {
    ++calls;
    loop->Unwatch(event.get());
    loop->After(absl::Milliseconds(5), [&] { loop->Quit(); });
  });
  loop->Run();
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace romulus
