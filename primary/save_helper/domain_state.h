#ifndef ROMULUS_PRIMARY_SAVE_HELPER_DOMAIN_STATE_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_DOMAIN_STATE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "common/xen/handles.h"

namespace romulus {

enum class DomainRunState {
  kRunning,    // Or paused, blocked: it has not shut down.
  kSuspended,  // Shut down, for the reason "suspend": it can be resumed.
};

struct DomainState {
  DomainRunState run_state = DomainRunState::kRunning;
};

// NOT_FOUND, with what happened to it: there is no such domain, it is being destroyed, it powered off, rebooted or
// crashed.
absl::StatusOr<DomainState> ReadDomainState(xc_interface* xc, uint32_t domid);

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_DOMAIN_STATE_H_
