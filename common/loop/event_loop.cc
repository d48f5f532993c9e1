#include "common/loop/event_loop.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus {

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::New() {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll.valid() || !wake.valid()) {
    return absl::InternalError(absl::StrCat("can't make the event loop's descriptors: ", strerror(errno)));
  }
  epoll_event event{};
  // Edge triggered: each write wakes the loop once, and none has to be read.
  event.events = EPOLLIN | EPOLLET;
  event.data.fd = wake.get();
  if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0) {
    return absl::InternalError(absl::StrCat("can't watch the event loop's wake-up: ", strerror(errno)));
  }
  return std::unique_ptr<EventLoop>(new EventLoop(std::move(epoll), std::move(wake)));
}

EventLoop::EventLoop(UniqueFd epoll, UniqueFd wake) : epoll_(std::move(epoll)), wake_(std::move(wake)) {}

EventLoop::~EventLoop() = default;

absl::Duration EventLoop::Now() const {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::DurationFromTimespec(now);
}

void EventLoop::Post(std::function<void()> task) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    posted_.push_back(std::move(task));
    // Awake, it looks for posted tasks before it sleeps.
    if (!std::exchange(asleep_, false)) return;
  }
  const uint64_t one = 1;
  ROMULUS_CHECK(write(wake_.get(), &one, sizeof(one)) == sizeof(one));
}

Scheduler::TimerId EventLoop::After(absl::Duration delay, std::function<void()> task) {
  const TimerId id = next_timer_++;
  const absl::Duration deadline = Now() + std::max(delay, absl::ZeroDuration());
  timers_.emplace(std::make_pair(deadline, id), std::move(task));
  deadlines_.emplace(id, deadline);
  return id;
}

void EventLoop::Cancel(TimerId timer) {
  const auto found = deadlines_.find(timer);
  if (found == deadlines_.end()) return;
  timers_.erase({found->second, timer});
  deadlines_.erase(found);
}

void EventLoop::WatchReadable(int fd, std::function<void()> ready) {
  ROMULUS_CHECK(watches_.emplace(fd, std::make_shared<std::function<void()>>(std::move(ready))).second);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  ROMULUS_CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0);
}

void EventLoop::Unwatch(int fd) {
  if (watches_.erase(fd) == 0) return;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void EventLoop::Quit() {
  Post([this] { quit_ = true; });
}

void EventLoop::Run() {
  while (!quit_) {
    epoll_event events[16];
    const int count = epoll_wait(epoll_.get(), events, 16, FallAsleep() ? MillisecondsToNextTimer() : 0);
    ROMULUS_CHECK(count >= 0 || errno == EINTR);
    WakeUp();
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == wake_.get()) continue;
      // An earlier callback of this round may have ended this watch.
      const auto watch = watches_.find(fd);
      if (watch == watches_.end()) continue;
      const std::shared_ptr<std::function<void()>> ready = watch->second;
      (*ready)();
    }
    RunPosted();
    RunDueTimers();
  }
  quit_ = false;
}

bool EventLoop::FallAsleep() {
  const std::lock_guard<std::mutex> lock(mutex_);
  asleep_ = posted_.empty();
  return asleep_;
}

void EventLoop::WakeUp() {
  const std::lock_guard<std::mutex> lock(mutex_);
  asleep_ = false;
}

void EventLoop::RunPosted() {
  std::vector<std::function<void()>> tasks;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    tasks.swap(posted_);
  }
  for (std::function<void()>& task : tasks) task();
}

void EventLoop::RunDueTimers() {
  const absl::Duration now = Now();
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    auto due = timers_.extract(timers_.begin());
    deadlines_.erase(due.key().second);
    due.mapped()();
  }
}

int EventLoop::MillisecondsToNextTimer() const {
  if (timers_.empty()) return -1;
  const absl::Duration left = timers_.begin()->first.first - Now();
  if (left <= absl::ZeroDuration()) return 0;
  // Rounded up: a timer never fires early, and the loop does not spin through its last millisecond.
  return static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, 60'000));
}

}  // namespace romulus
