#ifndef ROMULUS_PRIMARY_CAPTURE_HELPER_RECOVERY_H_
#define ROMULUS_PRIMARY_CAPTURE_HELPER_RECOVERY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/loop/event_loop.h"
#include "common/process/helper_process.h"

namespace romulus {

// Gets a guest running again whose save was cut off: runs the save helper program in its Recover mode. Also for an
// agent that finds a protected domain after a restart: harmless for a guest that is not being saved.
class HelperRecovery final : private HelperProcess::Observer {
 public:
  // Calls `done` once, later, on the loop's thread; it may destroy the HelperRecovery. OK: the guest runs (or its
  // domain is gone) and log-dirty is off. `settle`: for how long a suspend may still be under way.
  HelperRecovery(EventLoop& loop, const std::string& program, uint32_t domid, absl::Duration settle,
                 std::function<void(absl::Status)> done);
  ~HelperRecovery() override;

 private:
  void OnMessage(const helper::v1::HelperToAgent& message) override;
  void OnExit(const HelperProcess::Result& result) override;

  EventLoop& loop_;
  const std::function<void(absl::Status)> done_;
  std::unique_ptr<HelperProcess> process_;
  Scheduler::TimerId timer_ = Scheduler::kNoTimer;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CAPTURE_HELPER_RECOVERY_H_
