#include <signal.h>
#include <unistd.h>

#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "common/base/heap.h"
#include "common/base/log.h"
#include "common/process/helper_channel.h"
#include "proto/helper/v1/helper.pb.h"
#include "secondary/restore_helper/agent_watch.h"
#include "secondary/restore_helper/lockstep_restore.h"
#include "secondary/restore_helper/restore.h"

// romulus-restore-helper: feeds one standby domain from a libxc stream (proto/helper/v1). Started by romulus-secondary.

namespace romulus {
namespace {

// libxc reads a checkpoint's records, all of them, before it applies the first. Those of a guest that dirties some
// megabytes between two checkpoints fit.
constexpr size_t kHeapTaken = size_t{16} << 20;

// The exit code. `agent_end` outlives every other thread.
int Main(std::optional<HelperEnd>& agent_end) {
  signal(SIGPIPE, SIG_IGN);
  absl::StatusOr<HelperEnd> agent = HelperEnd::TakeFromAgent("romulus-restore-helper");
  if (!agent.ok()) {
    LogError(agent.status().message());
    return 2;
  }
  agent_end = *std::move(agent);
  absl::StatusOr<HelperEnd::Received> order = agent_end->Receive(absl::InfiniteDuration());
  // The agent is gone, or has thought better of it: there is nothing to undo.
  if (!order.ok() || order->message.has_stop()) return 1;
  if (!order->message.has_start_restore() || order->descriptors.size() != 1) {
    helper::v1::HelperToAgent refusal;
    refusal.mutable_failed()->set_kind(helper::v1::Failed::PROTOCOL);
    refusal.mutable_failed()->set_reason("the first order has to be StartRestore with the stream's descriptor");
    agent_end->Send(refusal).IgnoreError();
    return 1;
  }
  TakeHeap(kHeapTaken);
  const helper::v1::StartRestore& start = order->message.start_restore();
  const int stream = order->descriptors[0].get();
  helper::v1::HelperToAgent outcome;
  if (start.lockstep()) {
    outcome = RestoreInLockstep(start, stream, *agent_end);
  } else {
    EndProcessWithAgent(*agent_end);
    outcome = RestoreDomain(start, stream, *agent_end);
  }
  if (!agent_end->Send(outcome).ok()) return 1;
  return outcome.has_complete() ? 0 : 1;
}

}  // namespace
}  // namespace romulus

int main() {
  romulus::KeepFreedMemory();
  std::optional<romulus::HelperEnd> agent_end;
  // _exit: the thread that watches the agent must not see its channel destroyed under it.
  _exit(romulus::Main(agent_end));
}
