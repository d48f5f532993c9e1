#ifndef ROMULUS_PRIMARY_AGENT_EGRESS_PLAN_H_
#define ROMULUS_PRIMARY_AGENT_EGRESS_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "netbuf/vif.h"
#include "proto/control/v1/protection_service.pb.h"
#include "proto/replication/v1/domain.pb.h"

namespace romulus {

// With a pacing_goal: for the longest interval that it may lead to.
//
// How large a protection's egress buffers are, and how often they are looked at: netbuf/egress_sizing.h on this host's
// figures. Made when a protection is created, or recovered by a restarted agent; an UpdateProtection of the interval
// leaves it as it is: where that makes a buffer too small, output pressure brings checkpoints forward.
struct EgressPlan {
  std::vector<uint32_t> limits_bytes;  // By vif.
  absl::Duration sample_period;
  std::string why;  // In words, for the log.
};

// `settings.egress_buffer_bytes`, if it is not 0, is the limit of every vif. Otherwise: from the vif's `rate` in
// xenstore, else the speed of the fastest port of its bridge, else kAssumedBytesPerSecond. `files` is the root of sysfs
// and procfs ("" but in tests).
EgressPlan PlanEgress(const control::v1::ProtectionSettings& settings, const replication::v1::DomainDescription& domain,
                      const std::vector<Vif>& vifs, const std::string& files = "");

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_AGENT_EGRESS_PLAN_H_
