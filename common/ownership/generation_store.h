#ifndef ROMULUS_COMMON_OWNERSHIP_GENERATION_STORE_H_
#define ROMULUS_COMMON_OWNERSHIP_GENERATION_STORE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace romulus {

// The seam for ownership: the highest generation seen per protection, kept over restarts of the agent and of the host.
// Real side: FileGenerationStore (one file per protection, written and renamed with fsync). Simulated side: in memory,
// surviving simulated crashes. Synchronous; on the scheduler's thread.
class GenerationStore {
 public:
  struct Record {
    uint64_t generation = 0;
    // Secondary: in this generation the standby was (or is being) activated here; written before the guest may run.
    // Primary: in this generation the guest is fenced off this host.
    bool ownership_moved = false;
    // Whatever the agent needs to find its way after a restart (a serialized message of its own).
    std::string detail;
  };

  virtual ~GenerationStore() = default;
  // NOT_FOUND if nothing was ever written. DATA_LOSS if it can't be read: then nothing may be assumed.
  virtual absl::StatusOr<Record> Read(const std::string& protection) const = 0;
  // Durable when it returns OK; otherwise the record is as it was.
  virtual absl::Status Write(const std::string& protection, const Record& record) = 0;
  virtual absl::Status Erase(const std::string& protection) = 0;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_OWNERSHIP_GENERATION_STORE_H_
