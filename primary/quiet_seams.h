#ifndef ROMULUS_PRIMARY_QUIET_SEAMS_H_
#define ROMULUS_PRIMARY_QUIET_SEAMS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "netbuf/egress_buffer.h"
#include "primary/checkpoint_source.h"

namespace romulus {

// For tests of what is around them: these take everything and do nothing. The real ones have their own tests.
class QuietGuestControl final : public GuestControl {
 public:
  absl::Status Pause() override { return absl::OkStatus(); }
  absl::Status Unpause() override { return absl::OkStatus(); }
};

class QuietEgressBuffer : public EgressBuffer {
 public:
  absl::Status Attach() override { return absl::OkStatus(); }
  bool adopted() const override { return false; }
  absl::Status OpenEpoch() override { return absl::OkStatus(); }
  absl::Status ReleaseEpoch() override { return absl::OkStatus(); }
  absl::Status PassThrough() override { return absl::OkStatus(); }
  absl::Status Discard() override { return absl::OkStatus(); }
  absl::Status Detach() override { return absl::OkStatus(); }
  absl::Status ReadStatistics(Statistics&) override { return absl::OkStatus(); }
  std::vector<std::string> devices() const override { return {}; }
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_QUIET_SEAMS_H_
