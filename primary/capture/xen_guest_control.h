#ifndef ROMULUS_PRIMARY_CAPTURE_XEN_GUEST_CONTROL_H_
#define ROMULUS_PRIMARY_CAPTURE_XEN_GUEST_CONTROL_H_

#include <cstdint>

#include "common/xen/handles.h"
#include "primary/checkpoint_source.h"

namespace romulus {

// The real GuestControl. Xen counts the toolstack's pauses; this one adds one only to a domain that has none, and takes
// one away only where there is one. So it is idempotent over restarts of the agent, too, and does not know whose pause
// it is: an operator's `xl pause` counts as its own. Destroying it changes nothing: a guest that was paused because it
// is fenced must not run on because its agent ends.
class XenGuestControl final : public GuestControl {
 public:
  // `xc` outlives it.
  XenGuestControl(xc_interface* xc, uint32_t domid) : xc_(xc), domid_(domid) {}

  absl::Status Pause() override;
  absl::Status Unpause() override;

 private:
  absl::StatusOr<bool> IsPaused() const;

  xc_interface* const xc_;
  const uint32_t domid_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CAPTURE_XEN_GUEST_CONTROL_H_
