#include "common/link/watch_thread.h"

#include <time.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace romulus {

absl::Duration LinkNow() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::DurationFromTimespec(now);
}

WatchThread::WatchThread(std::function<absl::Duration(absl::Duration)> tick)
    : tick_(std::move(tick)), thread_([this] { Run(); }) {}

WatchThread::~WatchThread() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void WatchThread::Kick() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    kicked_ = true;
  }
  wake_.notify_all();
}

void WatchThread::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopped_) {
    kicked_ = false;
    lock.unlock();
    const absl::Duration next = tick_(LinkNow());
    lock.lock();
    // steady_clock is CLOCK_MONOTONIC. An hour bounds an "infinite" next.
    const absl::Duration until = std::min(next, LinkNow() + absl::Hours(1));
    const std::chrono::steady_clock::time_point deadline(std::chrono::nanoseconds(absl::ToInt64Nanoseconds(until)));
    wake_.wait_until(lock, deadline, [this] { return kicked_ || stopped_; });
  }
}

}  // namespace romulus
