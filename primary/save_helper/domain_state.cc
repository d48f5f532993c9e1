#include "primary/save_helper/domain_state.h"

#include <errno.h>

#include "absl/strings/str_cat.h"
#include "common/xen/control.h"

namespace romulus {
namespace {

std::string ShutdownName(unsigned reason) {
  switch (reason) {
    case SHUTDOWN_poweroff:
      return "has powered off";
    case SHUTDOWN_reboot:
      return "has rebooted";
    case SHUTDOWN_crash:
      return "has crashed";
    default:
      return absl::StrCat("has shut down for reason ", reason);
  }
}

}  // namespace

absl::StatusOr<DomainState> ReadDomainState(xc_interface* xc, uint32_t domid) {
  xc_domaininfo_t info{};
  const int count = xc_domain_getinfolist(xc, domid, 1, &info);
  if (count < 0) return XenCallError("can't read the domain's state", domid, errno);
  if (count == 0 || info.domain != domid) {
    return absl::NotFoundError(absl::StrCat("domain ", domid, " does not exist (any more)"));
  }
  if ((info.flags & XEN_DOMINF_dying) != 0) {
    return absl::NotFoundError(absl::StrCat("domain ", domid, " is being destroyed"));
  }
  DomainState state;
  if ((info.flags & XEN_DOMINF_shutdown) != 0) {
    const unsigned reason = (info.flags >> XEN_DOMINF_shutdownshift) & XEN_DOMINF_shutdownmask;
    if (reason != SHUTDOWN_suspend) {
      return absl::NotFoundError(absl::StrCat("domain ", domid, " ", ShutdownName(reason)));
    }
    state.run_state = DomainRunState::kSuspended;
  }
  return state;
}

}  // namespace romulus
