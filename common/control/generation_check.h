#ifndef ROMULUS_COMMON_CONTROL_GENERATION_CHECK_H_
#define ROMULUS_COMMON_CONTROL_GENERATION_CHECK_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace romulus {

// ABORTED with both numbers if `given` is lower than `known`. `given` 0 means "not stated": INVALID_ARGUMENT.
inline absl::Status CheckGeneration(uint64_t given, uint64_t known) {
  if (given == 0) {
    return absl::InvalidArgumentError(absl::StrCat("generation: state it; the highest known here is ", known));
  }
  if (given >= known) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("generation ", given, " is superseded: ", known,
                                         " is known here; ask the control plane who owns the guest"));
}

}  // namespace romulus

#endif  // ROMULUS_COMMON_CONTROL_GENERATION_CHECK_H_
