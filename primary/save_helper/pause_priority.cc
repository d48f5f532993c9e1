#include "primary/save_helper/pause_priority.h"

#include <errno.h>
#include <sched.h>

namespace romulus {

absl::Status TakePausePriority() {
  sched_param lowest{};
  lowest.sched_priority = sched_get_priority_min(SCHED_RR);
  if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &lowest) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, "can't run the copy of a suspended guest before other processes (SCHED_RR)");
}

}  // namespace romulus
