#include "primary/save_helper/populated_frames.h"

#include <algorithm>
#include <numeric>

#include "primary/save_helper/checkpoint_writer.h"

namespace romulus {

absl::StatusOr<std::vector<uint64_t>> FindPopulatedFrames(
    uint64_t numbers, uint64_t expected, size_t batch_max,
    const std::function<absl::Status(absl::Span<uint64_t>)>& add_types) {
  std::vector<uint64_t> low, high;  // `high`: highest first.
  std::vector<uint64_t> batch;
  uint64_t bottom = 0, top = numbers;  // Numbers below the one and from the other on have been asked for.
  bool from_bottom = true;
  while (bottom < top && low.size() + high.size() < expected) {
    const uint64_t count = std::min<uint64_t>(batch_max, top - bottom);
    const uint64_t first = from_bottom ? bottom : top - count;
    batch.resize(count);
    std::iota(batch.begin(), batch.end(), first);
    if (absl::Status status = add_types(absl::MakeSpan(batch)); !status.ok()) return status;
    if (from_bottom) {
      for (const uint64_t entry : batch) {
        if (EntryHasContents(entry)) low.push_back(FrameOfEntry(entry));
      }
      bottom += count;
    } else {
      for (auto entry = batch.rbegin(); entry != batch.rend(); ++entry) {
        if (EntryHasContents(*entry)) high.push_back(FrameOfEntry(*entry));
      }
      top -= count;
    }
    from_bottom = !from_bottom;
  }
  low.insert(low.end(), high.rbegin(), high.rend());
  return low;
}

}  // namespace romulus
