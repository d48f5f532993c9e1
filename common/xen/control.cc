#include "common/xen/control.h"

#include <errno.h>
#include <string.h>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

absl::Status OpenError(absl::string_view device, int error) {
  if (error == EACCES || error == EPERM) {
    return absl::PermissionDeniedError(
        absl::StrCat("can't open ", device, " (errno ", error, "): run this as root in a Xen dom0"));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("can't open ", device, ": ", strerror(error), " (errno ", error,
                   "): this is not a Xen dom0, or the xen-privcmd, xen-evtchn and xenfs modules are not loaded"));
}

}  // namespace

absl::StatusOr<XcInterface> OpenXenControl(xentoollog_logger* logger) {
  XcInterface xc(xc_interface_open(logger, logger, 0));
  if (xc == nullptr) return OpenError("the hypervisor's control interface /dev/xen/privcmd", errno);
  return xc;
}

absl::StatusOr<EventChannelHandle> OpenEventChannels(xentoollog_logger* logger) {
  EventChannelHandle channels(xenevtchn_open(logger, 0));
  if (channels == nullptr) return OpenError("the event channel device /dev/xen/evtchn", errno);
  return channels;
}

absl::Status XenCallError(const std::string& what, uint32_t domid, int error) {
  const std::string text = absl::StrCat(what, " (domain ", domid, "): ", strerror(error), " (errno ", error, ")");
  switch (error) {
    case ESRCH:
      return absl::NotFoundError(text);
    case ENOMEM:
    case ENOSPC:
      return absl::ResourceExhaustedError(text);
    case EPERM:
    case EACCES:
      return absl::PermissionDeniedError(text);
    case EOPNOTSUPP:
      return absl::UnimplementedError(text);
    default:
      return absl::InternalError(text);
  }
}

}  // namespace romulus
