#include "primary/save_helper/frame_map.h"

#include <algorithm>

#include "common/base/log.h"
#include "common/stream/stream_format.h"

namespace romulus {

void FrameMap::Add(uint64_t first, size_t count, const char* address) {
  size_ += count;
  if (!runs_.empty()) {
    Run& last = runs_.back();
    ROMULUS_CHECK(first >= last.first + last.count);
    if (first == last.first + last.count && address == last.address + last.count * stream_format::kPageBytes) {
      last.count += count;
      return;
    }
  }
  runs_.push_back({first, count, address});
}

const char* FrameMap::Find(uint64_t frame) const {
  const auto holds = [this, frame](size_t run) {
    return run < runs_.size() && frame - runs_[run].first < runs_[run].count;  // Also false where frame < first.
  };
  if (!holds(last_)) {
    const auto after = std::upper_bound(runs_.begin(), runs_.end(), frame,
                                        [](uint64_t wanted, const Run& run) { return wanted < run.first; });
    if (after == runs_.begin()) return nullptr;
    last_ = static_cast<size_t>(after - runs_.begin()) - 1;
    if (!holds(last_)) return nullptr;
  }
  return runs_[last_].address + (frame - runs_[last_].first) * stream_format::kPageBytes;
}

}  // namespace romulus
