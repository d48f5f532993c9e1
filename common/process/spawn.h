#ifndef ROMULUS_COMMON_PROCESS_SPAWN_H_
#define ROMULUS_COMMON_PROCESS_SPAWN_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace romulus {

struct SpawnedProcess {
  pid_t pid = 0;
  // Readable when the process has ended; to be reaped with waitid(P_PIDFD).
  UniqueFd pidfd;
};

// Starts `program` (a path) with `socket` as descriptor 3, /dev/null as stdin, this process' stdout and stderr, and no
// other descriptor; default signals, none blocked; in a process group of its own, so that a Ctrl-C meant for the agent
// does not reach it. FAILED_PRECONDITION: it can't be executed.
absl::StatusOr<SpawnedProcess> SpawnWithSocket(const std::string& program, const std::vector<std::string>& arguments,
                                               const UniqueFd& socket);

}  // namespace romulus

#endif  // ROMULUS_COMMON_PROCESS_SPAWN_H_
