#ifndef ROMULUS_COMMON_BASE_MONOTONIC_TIME_H_
#define ROMULUS_COMMON_BASE_MONOTONIC_TIME_H_

#include <time.h>

#include "absl/time/time.h"

namespace romulus {

// Of the clock that nobody sets: for measuring and for deadlines where there is no Scheduler to ask.
inline absl::Duration MonotonicNow() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::DurationFromTimespec(now);
}

}  // namespace romulus

#endif  // ROMULUS_COMMON_BASE_MONOTONIC_TIME_H_
