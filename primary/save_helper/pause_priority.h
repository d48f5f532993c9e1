#ifndef ROMULUS_PRIMARY_SAVE_HELPER_PAUSE_PRIORITY_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_PAUSE_PRIORITY_H_

#include "absl/status/status.h"

namespace romulus {

// From now on the calling thread runs before whatever else dom0 would run on its processor (SCHED_RR, lowest priority):
// a suspended guest waits for it. For a thread that computes only while it copies a suspended guest, and sleeps
// otherwise. PERMISSION_DENIED: without CAP_SYS_NICE.
absl::Status TakePausePriority();

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_PAUSE_PRIORITY_H_
