#ifndef ROMULUS_COMMON_PROCESS_SPAWN_H_
#define ROMULUS_COMMON_PROCESS_SPAWN_H_

#include <sys/types.h>

#include <optional>
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

struct SpawnRequest {
  std::string program;                 // A path.
  std::vector<std::string> arguments;  // After the program's name.
  // "NAME=value"; nullopt: this process' own.
  std::optional<std::vector<std::string>> environment;
  // Of this process -> of the new one; done in order.
  struct Descriptor {
    int from = -1;
    int to = -1;
  };
  std::vector<Descriptor> descriptors;
  // kGroup: a Ctrl-C meant for this process does not reach it. kSession: it also outlives this process' terminal.
  enum class Apart { kGroup, kSession };
  Apart apart = Apart::kGroup;
};

// With /dev/null as stdin, this process' stdout and stderr unless `descriptors` has others, and no further descriptor;
// default signals, none blocked. FAILED_PRECONDITION: it can't be executed. RESOURCE_EXHAUSTED: it can't be watched,
// and was killed.
absl::StatusOr<SpawnedProcess> Spawn(const SpawnRequest& request);

}  // namespace romulus

#endif  // ROMULUS_COMMON_PROCESS_SPAWN_H_
