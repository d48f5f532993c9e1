#ifndef ROMULUS_COMMON_LOOP_MANUAL_SCHEDULER_H_
#define ROMULUS_COMMON_LOOP_MANUAL_SCHEDULER_H_

#include <functional>
#include <map>
#include <utility>

#include "common/loop/scheduler.h"

namespace romulus {

// For tests of one class: time passes when the test says so. Posted tasks run with the next Pass, also one of no time.
class ManualScheduler final : public Scheduler {
 public:
  absl::Duration Now() const override { return now_; }
  void Post(std::function<void()> task) override { After(absl::ZeroDuration(), std::move(task)); }
  TimerId After(absl::Duration delay, std::function<void()> task) override {
    timers_[{now_ + delay, ++next_}] = std::move(task);
    return next_;
  }
  void Cancel(TimerId timer) override {
    for (auto it = timers_.begin(); it != timers_.end(); ++it) {
      if (it->first.second != timer) continue;
      timers_.erase(it);
      return;
    }
  }
  void Pass(absl::Duration time) {
    const absl::Duration until = now_ + time;
    while (!timers_.empty() && timers_.begin()->first.first <= until) {
      now_ = timers_.begin()->first.first;
      const std::function<void()> task = std::move(timers_.begin()->second);
      timers_.erase(timers_.begin());
      task();
    }
    now_ = until;
  }
  size_t timers() const { return timers_.size(); }

 private:
  absl::Duration now_ = absl::Seconds(100);
  TimerId next_ = kNoTimer;
  std::map<std::pair<absl::Duration, TimerId>, std::function<void()>> timers_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LOOP_MANUAL_SCHEDULER_H_
