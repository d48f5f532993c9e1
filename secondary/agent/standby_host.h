#ifndef ROMULUS_SECONDARY_AGENT_STANDBY_HOST_H_
#define ROMULUS_SECONDARY_AGENT_STANDBY_HOST_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/replication/v1/replication.pb.h"
#include "secondary/checkpoint_target.h"
#include "secondary/standby_traffic.h"

namespace romulus {

// The host as the secondary agent sees it. main.cc has the real one. On the loop's thread.
class StandbyHost {
 public:
  virtual ~StandbyHost() = default;

  virtual absl::StatusOr<replication::v1::HostCompatibility> Compatibility() = 0;

  // Whether the guest of this session could run here. FAILED_PRECONDITION says why not; nothing is touched.
  virtual absl::Status CheckSession(const replication::v1::OpenSession& open_session) = 0;

  virtual std::unique_ptr<CheckpointTarget> NewTarget() = 0;

  // The frames of a prepared target's domain, for a session in lockstep: all of its vifs are isolated from now on.
  virtual absl::StatusOr<std::unique_ptr<StandbyTraffic>> NewTraffic(const replication::v1::OpenSession& session,
                                                                     uint32_t domid) = 0;

  // Removes what a dead agent has left: standbys that were never activated. Logs what it removed and what it could not.
  virtual void RemoveLeftovers() = 0;
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_AGENT_STANDBY_HOST_H_
