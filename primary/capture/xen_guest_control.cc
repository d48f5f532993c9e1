#include "primary/capture/xen_guest_control.h"

#include <errno.h>

#include "common/xen/control.h"

namespace romulus {

absl::StatusOr<bool> XenGuestControl::IsPaused() const {
  xc_domaininfo_t info{};
  const int count = xc_domain_getinfolist(xc_, domid_, 1, &info);
  if (count < 0) return XenCallError("can't read the domain's state", domid_, errno);
  if (count == 0 || info.domain != domid_) return XenCallError("can't find the domain", domid_, ESRCH);
  return (info.flags & XEN_DOMINF_paused) != 0;
}

absl::Status XenGuestControl::Pause() {
  const absl::StatusOr<bool> paused = IsPaused();
  if (!paused.ok() || *paused) return paused.status();
  if (xc_domain_pause(xc_, domid_) != 0) return XenCallError("can't pause the domain", domid_, errno);
  return absl::OkStatus();
}

absl::Status XenGuestControl::Unpause() {
  const absl::StatusOr<bool> paused = IsPaused();
  if (!paused.ok() || !*paused) return paused.status();
  if (xc_domain_unpause(xc_, domid_) != 0) return XenCallError("can't unpause the domain", domid_, errno);
  return absl::OkStatus();
}

}  // namespace romulus
