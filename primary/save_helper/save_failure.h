#ifndef ROMULUS_PRIMARY_SAVE_HELPER_SAVE_FAILURE_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_SAVE_FAILURE_H_

#include <string>

#include "absl/status/status.h"
#include "proto/helper/v1/helper.pb.h"

namespace romulus {

// A failed xc_domain_save in words for the operator. `error`: its errno; `first_error`: what libxc printed first.
// `alive`: NOT_FOUND if the domain has gone or shut down meanwhile, which then is the reason for everything else.
helper::v1::Failed SaveFailure(int error, const std::string& first_error, const absl::Status& alive);

// A failed preparation: opening the hypervisor or xenstore, finding the domain.
helper::v1::Failed SetupFailure(const absl::Status& status);

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_SAVE_FAILURE_H_
