#ifndef ROMULUS_COMMON_CONTROL_CHANGE_SIGNAL_H_
#define ROMULUS_COMMON_CONTROL_CHANGE_SIGNAL_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "absl/time/time.h"

namespace romulus {

// Wakes those who watch resources when something has changed that they should see at once. Thread safe.
class ChangeSignal {
 public:
  void Notify() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++changes_;
    changed_.notify_all();
  }

  uint64_t changes() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return changes_;
  }

  // Waits until changes() differs from `seen`, or `limit` has passed.
  void Wait(uint64_t seen, absl::Duration limit) const {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, absl::ToChronoMilliseconds(limit), [&] { return changes_ != seen; });
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  uint64_t changes_ = 0;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CONTROL_CHANGE_SIGNAL_H_
