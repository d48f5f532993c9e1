#ifndef ROMULUS_PRIMARY_SAVE_HELPER_STOP_SIGNAL_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_STOP_SIGNAL_H_

#include <memory>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace romulus {

// SIGTERM and SIGINT as an orderly request to stop. libxc must not just be killed: it would leave log-dirty on and the
// guest possibly suspended. One per process at a time.
class StopSignal {
 public:
  static absl::StatusOr<std::unique_ptr<StopSignal>> Install();
  ~StopSignal();

  bool requested() const;
  // Readable once requested.
  int descriptor() const { return event_.get(); }

  // While set, the signal also puts something unwritable behind `io_descriptor`: a write that is blocked there (in the
  // seeding pipe) ends with an error, and libxc cleans up. -1: no more.
  void BreakWritesOf(int io_descriptor);

 private:
  StopSignal(UniqueFd event, UniqueFd unwritable);

  UniqueFd event_;
  UniqueFd unwritable_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_STOP_SIGNAL_H_
