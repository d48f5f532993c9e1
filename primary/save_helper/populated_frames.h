#ifndef ROMULUS_PRIMARY_SAVE_HELPER_POPULATED_FRAMES_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_POPULATED_FRAMES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace romulus {

// Finds the frames of a guest that have memory behind them, without asking for each frame number that it might have: a
// PVH guest of 128 MB has a million numbers and 32784 frames. Numbers are asked for in batches, from the bottom up and
// from the top down in turn, since memory lies at the bottom and special pages lie at the top, until `expected` frames
// are found. If they never come together, all numbers have been asked for: complete either way.
//
// `add_types` replaces each number by its entry (checkpoint_writer.h); an entry without contents is no frame.
// `numbers`: one more than the highest frame number. Returns the frames in ascending order. Pure, apart from add_types.
absl::StatusOr<std::vector<uint64_t>> FindPopulatedFrames(
    uint64_t numbers, uint64_t expected, size_t batch_max,
    const std::function<absl::Status(absl::Span<uint64_t>)>& add_types);

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_POPULATED_FRAMES_H_
