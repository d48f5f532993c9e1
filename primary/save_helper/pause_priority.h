#ifndef ROMULUS_PRIMARY_SAVE_HELPER_PAUSE_PRIORITY_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_PAUSE_PRIORITY_H_

#include "absl/status/status.h"

namespace romulus {

// From now on all threads that this process has run before whatever else dom0 would run on their processors (SCHED_RR,
// lowest priority): a suspended guest waits for them. For a process that computes only while it copies a suspended
// guest, and sleeps otherwise; that is, the thread that copies, and libxenstore's, which brings it the news of the
// suspend. PERMISSION_DENIED: without CAP_SYS_NICE.
absl::Status TakePausePriority();

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_PAUSE_PRIORITY_H_
