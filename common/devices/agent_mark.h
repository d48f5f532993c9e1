#ifndef ROMULUS_COMMON_DEVICES_AGENT_MARK_H_
#define ROMULUS_COMMON_DEVICES_AGENT_MARK_H_

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"

namespace romulus {

// Where an agent marks a domain whose devices it has created, in libxl's part of xenstore, where no guest can write.
// The mark stays when the guest has been taken over, and when the agent restarts; it goes with the domain.
inline std::string AgentMarkPath(uint32_t domid) { return absl::StrCat("/libxl/", domid, "/romulus/backends"); }

// The agent connects them and takes them down: a standby's.
inline constexpr char kMarkStandby[] = "standby";
// The agent has created them; `xl destroy` takes them down: a guest's that runs.
inline constexpr char kMarkGuest[] = "guest";

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_AGENT_MARK_H_
