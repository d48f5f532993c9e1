#ifndef ROMULUS_PRIMARY_PROTECTION_EPOCH_TRACE_H_
#define ROMULUS_PRIMARY_PROTECTION_EPOCH_TRACE_H_

#include <cstdint>

#include "absl/time/time.h"

namespace romulus {

// One committed checkpoint, as measured on the primary.
struct EpochTrace {
  uint64_t epoch = 0;
  absl::Duration pause;  // Suspend request to resume.
  // Parts of the pause.
  absl::Duration suspend;
  absl::Duration copy;
  absl::Duration resume;
  // From captured to the secondary's commit.
  absl::Duration commit;
  // From the start of the epoch to the release of its output: what its first packet has waited.
  // Zero for epoch 1, whose output is not held.
  absl::Duration output_delay;
  uint64_t dirty_pages = 0;
  uint64_t bytes = 0;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_PROTECTION_EPOCH_TRACE_H_
