#ifndef ROMULUS_SECONDARY_TARGET_LEFTOVER_STANDBYS_H_
#define ROMULUS_SECONDARY_TARGET_LEFTOVER_STANDBYS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/xen/handles.h"
#include "common/xen/xenstore.h"

namespace romulus {

// A standby whose agent has died: a paused domain that carries the mark in libxl's part of xenstore, where no guest can
// write (StandbyStatePath). Guests that run are never among them.
struct LeftoverStandby {
  uint32_t domid = 0;
  // Of the guest, without "--standby".
  std::string name;
  std::string uuid;
  // The agent died between the end of the restore and the start of the guest: the domain holds the whole last commit,
  // and may be the only copy. Otherwise it is a part of one, and of no use.
  bool restored = false;
};

// For an agent that starts, before it has any standby of its own.
absl::StatusOr<std::vector<LeftoverStandby>> FindLeftoverStandbys(xc_interface* xc, Xenstore& store);

// The domain, its nodes, its userdata.
absl::Status DestroyLeftoverStandby(xc_interface* xc, Xenstore& store, const LeftoverStandby& leftover);

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_LEFTOVER_STANDBYS_H_
