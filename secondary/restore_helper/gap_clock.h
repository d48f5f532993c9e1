#ifndef ROMULUS_SECONDARY_RESTORE_HELPER_GAP_CLOCK_H_
#define ROMULUS_SECONDARY_RESTORE_HELPER_GAP_CLOCK_H_

#include <cstdint>
#include <mutex>

#include "common/base/monotonic_time.h"
#include "proto/helper/v1/helper.pb.h"

namespace romulus {

// Measures a StandbyGap: Begin, then the parts as they end, in any order; each lasts from what was noted before it.
// Thread safe.
class GapClock {
 public:
  using Part = void (helper::v1::StandbyGap::*)(uint64_t microseconds);

  void Begin() {
    const std::lock_guard<std::mutex> lock(mutex_);
    gap_.Clear();
    noted_ = MonotonicNow();
  }
  void Note(Part part) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const absl::Duration now = MonotonicNow();
    (gap_.*part)(static_cast<uint64_t>(absl::ToInt64Microseconds(now - noted_)));
    noted_ = now;
  }
  helper::v1::StandbyGap gap() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return gap_;
  }

 private:
  mutable std::mutex mutex_;
  helper::v1::StandbyGap gap_;
  absl::Duration noted_;
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_RESTORE_HELPER_GAP_CLOCK_H_
