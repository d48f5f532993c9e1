#ifndef ROMULUS_COMMON_BASE_MUTEX_CHECKS_H_
#define ROMULUS_COMMON_BASE_MUTEX_CHECKS_H_

#include "absl/synchronization/mutex.h"

namespace romulus {

// Debian builds Abseil without NDEBUG: each lock of an absl::Mutex is noted in a graph that is searched for cycles, by
// all threads under one lock. gRPC takes dozens of them per message. Tests leave it on. First thing in main().
inline void SkipMutexChecks() { absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore); }

}  // namespace romulus

#endif  // ROMULUS_COMMON_BASE_MUTEX_CHECKS_H_
