#include "primary/save_helper/pause_priority.h"

#include <errno.h>
#include <sched.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace romulus {

absl::Status TakePausePriority() {
  constexpr char kThreads[] = "/proc/self/task";
  sched_param lowest{};
  lowest.sched_priority = sched_get_priority_min(SCHED_RR);
  std::error_code error;
  for (const auto& each : std::filesystem::directory_iterator(kThreads, error)) {
    pid_t thread = 0;
    if (!absl::SimpleAtoi(each.path().filename().string(), &thread)) continue;
    if (sched_setscheduler(thread, SCHED_RR | SCHED_RESET_ON_FORK, &lowest) != 0 && errno != ESRCH) {
      return absl::ErrnoToStatus(errno, "can't run the copy of a suspended guest before other processes (SCHED_RR)");
    }
  }
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("can't read ", kThreads));
  return absl::OkStatus();
}

}  // namespace romulus
