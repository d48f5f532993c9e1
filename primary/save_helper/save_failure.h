#ifndef ROMULUS_PRIMARY_SAVE_HELPER_SAVE_FAILURE_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_SAVE_FAILURE_H_

#include "absl/status/status.h"
#include "proto/helper/v1/helper.pb.h"

namespace romulus {

// An error of this helper's for the agent, and in words for the operator.
//   NOT_FOUND: DOMAIN_GONE          DEADLINE_EXCEEDED: SUSPEND_TIMEOUT   UNIMPLEMENTED: LOG_DIRTY_UNSUPPORTED
//   ABORTED: MEMORY_MAP_CHANGED     RESOURCE_EXHAUSTED: OUT_OF_MEMORY    others: HYPERVISOR
//   PERMISSION_DENIED, FAILED_PRECONDITION: PRIVILEGE
helper::v1::Failed FailureFrom(const absl::Status& status);

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_SAVE_FAILURE_H_
