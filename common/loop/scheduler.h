#ifndef ROMULUS_COMMON_LOOP_SCHEDULER_H_
#define ROMULUS_COMMON_LOOP_SCHEDULER_H_

#include <cstdint>
#include <functional>

#include "absl/time/time.h"

namespace romulus {

// The seam for time and order. Real side: EventLoop (a thread and the steady clock). Simulated side: the virtual clock
// of tests/simulation. Everything that decides runs inside its callbacks, one at a time.
class Scheduler {
 public:
  using TimerId = uint64_t;
  static constexpr TimerId kNoTimer = 0;

  virtual ~Scheduler() = default;

  // Monotonic time since an arbitrary start; never jumps, whatever the wall clock does.
  virtual absl::Duration Now() const = 0;

  // Runs `task` soon, after the running callback, in the order of the calls. Thread safe.
  virtual void Post(std::function<void()> task) = 0;

  // Runs `task` once, no earlier than `delay` from now. Only from within the scheduler's own callbacks.
  virtual TimerId After(absl::Duration delay, std::function<void()> task) = 0;

  // After Cancel returns, the task does not run. Unknown or spent ids are ignored. As After.
  virtual void Cancel(TimerId timer) = 0;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LOOP_SCHEDULER_H_
