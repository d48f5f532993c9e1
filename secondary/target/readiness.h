#ifndef ROMULUS_SECONDARY_TARGET_READINESS_H_
#define ROMULUS_SECONDARY_TARGET_READINESS_H_

#include <string>
#include <vector>

#include "proto/control/v1/host_service.pb.h"

namespace romulus {

// Whether this host can keep and activate standbys: what it needs, what was found, and how to mend what is missing.
// Changes nothing; takes some milliseconds. `restore_helper`: the path that HelperCheckpointTarget will use.
std::vector<control::v1::ReadinessCheck> CheckStandbyReadiness(const std::string& restore_helper);

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_READINESS_H_
