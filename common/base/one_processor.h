#ifndef ROMULUS_COMMON_BASE_ONE_PROCESSOR_H_
#define ROMULUS_COMMON_BASE_ONE_PROCESSOR_H_

#include <sched.h>

namespace romulus {

// Whether this thread, and those that it starts, may run on one processor only: a dom0 with one virtual CPU, or a
// process that was bound to one. Threads then only take turns.
inline bool OneProcessor() {
  cpu_set_t allowed;
  return sched_getaffinity(0, sizeof(allowed), &allowed) == 0 && CPU_COUNT(&allowed) == 1;
}

}  // namespace romulus

#endif  // ROMULUS_COMMON_BASE_ONE_PROCESSOR_H_
