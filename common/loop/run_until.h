#ifndef ROMULUS_COMMON_LOOP_RUN_UNTIL_H_
#define ROMULUS_COMMON_LOOP_RUN_UNTIL_H_

#include <functional>

#include "absl/time/time.h"
#include "common/loop/event_loop.h"

namespace romulus {

// For tests: serves `loop` on this thread until `condition` holds. False: it did not within `limit`, which is there
// against a hang only.
inline bool RunUntil(EventLoop* loop, const std::function<bool()>& condition, absl::Duration limit) {
  if (condition()) return true;
  const absl::Duration end = loop->Now() + limit;
  Scheduler::TimerId timer = Scheduler::kNoTimer;
  bool held = false;
  std::function<void()> look = [&] {
    held = condition();
    if (held || loop->Now() >= end) {
      loop->Quit();
    } else {
      timer = loop->After(absl::Milliseconds(1), look);
    }
  };
  timer = loop->After(absl::ZeroDuration(), look);
  loop->Run();
  loop->Cancel(timer);
  return held;
}

}  // namespace romulus

#endif  // ROMULUS_COMMON_LOOP_RUN_UNTIL_H_
