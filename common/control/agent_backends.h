#ifndef ROMULUS_COMMON_CONTROL_AGENT_BACKENDS_H_
#define ROMULUS_COMMON_CONTROL_AGENT_BACKENDS_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/control/backend_directory.h"
#include "common/devices/backend_listener.h"
#include "common/loop/event_loop.h"

namespace romulus {

// An agent's BackendListener in dom0: vifs are connected over netlink where that does what their script would. The
// listener lives on the loop; List may be called from any other thread, and waits for the loop.
class AgentBackends final : public BackendDirectory {
 public:
  // `loop` outlives it. FAILED_PRECONDITION where this is no Xen dom0.
  static absl::StatusOr<std::unique_ptr<AgentBackends>> Start(EventLoop& loop, BackendScope scope);

  std::vector<control::v1::Backend> List() override;
  const ChangeSignal& changes() const override { return changes_; }

 private:
  explicit AgentBackends(EventLoop& loop) : loop_(loop) {}

  EventLoop& loop_;
  absl::Time clock_start_;  // When the loop's clock was zero; taken once, so that times stay what they were.
  ChangeSignal changes_;
  std::unique_ptr<BackendListener> listener_;
};

// A listener's view as the API has it: pure. `state_time` and `age`: of its state.
control::v1::Backend DescribeBackend(const BackendView& view, absl::Time state_time, absl::Duration age);

}  // namespace romulus

#endif  // ROMULUS_COMMON_CONTROL_AGENT_BACKENDS_H_
