#include "primary/save_helper/guest_recovery.h"

#include <errno.h>

#include "common/xen/control.h"

namespace romulus {
namespace {

absl::Status ResumeIfSuspended(XenGuest& guest, absl::Duration settle) {
  // First: nobody else would hear that the guest suspends now, nor ever.
  if (absl::Status status = guest.UseXenstore(); !status.ok()) return status;
  const absl::StatusOr<bool> withdrawn = guest.WithdrawSuspendRequest();
  if (!withdrawn.ok()) return withdrawn.status();
  // What was withdrawn in time can't happen any more.
  const absl::StatusOr<bool> suspended = guest.WaitSuspended(*withdrawn ? absl::ZeroDuration() : settle);
  if (!suspended.ok()) return suspended.status();
  if (*suspended) {
    if (absl::Status status = guest.Resume(); !status.ok()) return status;
  }
  // Also where the guest runs: the one before may have died just before this step.
  return guest.FinishResume();
}

}  // namespace

absl::Status RecoverGuest(xc_interface* xc, XenGuest& guest, uint32_t domid, absl::Duration settle) {
  absl::Status resumed = ResumeIfSuspended(guest, settle);
  if (absl::IsNotFound(resumed)) return absl::OkStatus();
  const int off = xc_shadow_control(xc, domid, XEN_DOMCTL_SHADOW_OP_OFF, nullptr, 0);
  const int error = errno;
  if (!resumed.ok()) return resumed;
  // EINVAL and EOPNOTSUPP: a PV domain on a hypervisor without shadow paging, which never had it on.
  if (off != 0 && error != ESRCH && error != EINVAL && error != EOPNOTSUPP)
    return XenCallError("can't turn log-dirty mode off", domid, error);
  return absl::OkStatus();
}

}  // namespace romulus
