#ifndef ROMULUS_PRIMARY_SAVE_HELPER_STOP_SIGNAL_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_STOP_SIGNAL_H_

#include <memory>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace romulus {

// SIGTERM and SIGINT as an orderly request to stop: a helper that is just killed leaves log-dirty on and the guest
// possibly suspended. One per process at a time.
class StopSignal {
 public:
  static absl::StatusOr<std::unique_ptr<StopSignal>> Install();
  ~StopSignal();

  bool requested() const;
  // Readable once requested.
  int descriptor() const { return event_.get(); }

 private:
  explicit StopSignal(UniqueFd event);

  UniqueFd event_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_STOP_SIGNAL_H_
