#ifndef ROMULUS_PRIMARY_PROTECTION_EPOCH_TRACE_H_
#define ROMULUS_PRIMARY_PROTECTION_EPOCH_TRACE_H_

#include <cstdint>

#include "absl/time/time.h"
#include "primary/checkpoint_source.h"

namespace romulus {

// One committed checkpoint, as measured on the primary.
struct EpochTrace {
  uint64_t epoch = 0;
  // From the epoch's start until its checkpoint was asked for: the interval, or what was longer, or, with output
  // pressure, shorter. Zero for epoch 1.
  absl::Duration ran;
  // Part of `ran`: for its turn among the guests of this host (pause_turns.h).
  absl::Duration turn_wait;
  absl::Duration pause;  // Suspend request to resume.
  CheckpointSource::PauseParts parts;
  absl::Duration copy;  // As CheckpointSource::Captured::copy.
  // From captured to the secondary's commit.
  absl::Duration commit;
  // From the start of the epoch to the release of its output: what its first packet has waited.
  // Zero for epoch 1, whose output is not held.
  absl::Duration output_delay;
  uint64_t dirty_pages = 0;
  uint64_t unchanged_pages = 0;  // Of them: not in the checkpoint.
  uint64_t bytes = 0;
  uint64_t wire_bytes = 0;  // As sent, encoded; what was sent again counts again.
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_PROTECTION_EPOCH_TRACE_H_
