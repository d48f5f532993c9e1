#ifndef ROMULUS_PRIMARY_AGENT_READINESS_H_
#define ROMULUS_PRIMARY_AGENT_READINESS_H_

#include <string>
#include <vector>

#include "proto/control/v1/host_service.pb.h"

namespace romulus {

// What protecting a guest needs of this host, what was found, and how to mend what is missing. On any thread; leaves
// nothing behind. `save_helper`: the path that the agent will use.
std::vector<control::v1::ReadinessCheck> CheckProtectionReadiness(const std::string& save_helper);

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_AGENT_READINESS_H_
