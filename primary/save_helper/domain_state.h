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
  bool hvm = false;  // HVM or PVH.
  uint64_t memory_pages = 0;
};

// NOT_FOUND, with what happened to it: there is no such domain, it is being destroyed, it powered off, rebooted or
// crashed.
absl::StatusOr<DomainState> ReadDomainState(xc_interface* xc, uint32_t domid);

// Tries whether the hypervisor can track the domain's dirty pages, and leaves it off: 0, or the errno. libxc tries
// three calls in a row and keeps only the last one's errno. EINVAL: it is on already, which libxc copes with.
int ProbeLogDirty(xc_interface* xc, uint32_t domid);

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_DOMAIN_STATE_H_
