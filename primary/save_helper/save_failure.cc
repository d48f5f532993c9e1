#include "primary/save_helper/save_failure.h"

#include <errno.h>

#include "absl/strings/str_cat.h"

namespace romulus {

using helper::v1::Failed;

Failed SaveFailure(int error, const std::string& first_error, const absl::Status& alive) {
  Failed failed;
  failed.set_native_errno(error);
  const std::string detail = first_error.empty() ? "" : absl::StrCat("; libxenguest says: ", first_error);
  if (absl::IsNotFound(alive)) {
    failed.set_kind(Failed::DOMAIN_GONE);
    failed.set_native_errno(0);
    failed.set_reason(std::string(alive.message()));
  } else if (error == EOPNOTSUPP) {
    failed.set_kind(Failed::LOG_DIRTY_UNSUPPORTED);
    failed.set_reason(
        absl::StrCat("the hypervisor can't track this domain's dirty pages: it is built without shadow paging, so only "
                     "PVH and HVM guests can be protected (or the domain has a passed-through device)",
                     detail));
  } else if (error == EPERM || error == EACCES) {
    failed.set_kind(Failed::PRIVILEGE);
    failed.set_reason(absl::StrCat("the hypervisor refuses this process: run the agent as root in dom0", detail));
  } else {
    failed.set_kind(Failed::LIBXENGUEST);
    failed.set_reason(absl::StrCat("saving the domain failed", detail));
  }
  return failed;
}

Failed SetupFailure(const absl::Status& status) {
  Failed failed;
  failed.set_kind(absl::IsNotFound(status)             ? Failed::DOMAIN_GONE
                  : absl::IsPermissionDenied(status)   ? Failed::PRIVILEGE
                  : absl::IsFailedPrecondition(status) ? Failed::PRIVILEGE
                                                       : Failed::LIBXENGUEST);
  failed.set_reason(std::string(status.message()));
  return failed;
}

}  // namespace romulus
