#ifndef ROMULUS_PRIMARY_SAVE_HELPER_GUEST_RECOVERY_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_GUEST_RECOVERY_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/xen/handles.h"
#include "primary/save_helper/xen_guest.h"

namespace romulus {

// Leaves a guest as if it had never been protected, whatever state its save was in: no suspend request pending, no
// subscription to its suspends, resumed if it is suspended, log-dirty off. Idempotent; a domain that is gone is fine.
// `settle`: for how long to wait for a suspend that the guest may have acknowledged and not yet carried out; zero where
// none can be under way.
absl::Status RecoverGuest(xc_interface* xc, XenGuest& guest, uint32_t domid, absl::Duration settle);

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_GUEST_RECOVERY_H_
