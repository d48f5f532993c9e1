#include "primary/save_helper/save_failure.h"

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

using helper::v1::Failed;

Failed::Kind KindOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return Failed::DOMAIN_GONE;
    case absl::StatusCode::kDeadlineExceeded:
      return Failed::SUSPEND_TIMEOUT;
    case absl::StatusCode::kUnimplemented:
      return Failed::LOG_DIRTY_UNSUPPORTED;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kFailedPrecondition:
      return Failed::PRIVILEGE;
    case absl::StatusCode::kAborted:
      return Failed::MEMORY_MAP_CHANGED;
    case absl::StatusCode::kResourceExhausted:
      return Failed::OUT_OF_MEMORY;
    default:
      return Failed::HYPERVISOR;
  }
}

}  // namespace

Failed FailureFrom(const absl::Status& status) {
  Failed failed;
  failed.set_kind(KindOf(status));
  const std::string what(status.message());
  if (failed.kind() == Failed::LOG_DIRTY_UNSUPPORTED) {
    failed.set_reason(
        absl::StrCat("the hypervisor can't track this domain's dirty pages: it is built without shadow paging, so only "
                     "PVH and HVM guests can be protected (or the domain has a passed-through device): ",
                     what));
  } else if (absl::IsPermissionDenied(status)) {
    failed.set_reason(absl::StrCat("the hypervisor refuses this process: run the agent as root in dom0: ", what));
  } else if (failed.kind() == Failed::MEMORY_MAP_CHANGED) {
    failed.set_reason(absl::StrCat("the guest has to be copied anew: ", what));
  } else {
    failed.set_reason(what);
  }
  return failed;
}

}  // namespace romulus
