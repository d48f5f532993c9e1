#ifndef ROMULUS_PRIMARY_SAVE_HELPER_SUSPENDABLE_GUEST_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_SUSPENDABLE_GUEST_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace romulus {

// The guest as SaveSession needs it: something that can be suspended and resumed. Real side: XenGuest. One thread.
class SuspendableGuest {
 public:
  struct SuspendTimes {
    absl::Duration acknowledge;  // From the request to the guest's own acknowledgement; zero if it was not seen.
    absl::Duration suspend;      // From the request until it was suspended.
  };

  virtual ~SuspendableGuest() = default;

  // Asks the guest to suspend and waits until it is.
  // DEADLINE_EXCEEDED: it was not within `timeout`; the request has been withdrawn and the guest runs.
  // NOT_FOUND: the domain is gone or has shut down. Others: the request could not be made.
  virtual absl::StatusOr<SuspendTimes> Suspend(absl::Duration timeout) = 0;

  // The vCPUs run again when it returns OK.
  virtual absl::Status Resume() = 0;

  // The part of a resume that the guest need not wait for. After each Resume, before the next Suspend.
  virtual absl::Status FinishResume() = 0;

  // Readable when CheckAlive has something to find out.
  virtual int event_descriptor() const = 0;
  // NOT_FOUND: the domain is gone or has shut down, other than by Suspend.
  virtual absl::Status CheckAlive() = 0;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_SUSPENDABLE_GUEST_H_
