// romulus-save-helper: takes checkpoints of one domain for the agent that started it. See proto/helper/v1/helper.proto.

#include <errno.h>
#include <signal.h>

#include <memory>
#include <utility>

#include "common/base/heap.h"
#include "common/base/log.h"
#include "common/base/monotonic_time.h"
#include "common/process/helper_channel.h"
#include "common/xen/control.h"
#include "common/xen/xenstore.h"
#include "primary/save_helper/agent_logger.h"
#include "primary/save_helper/domain_state.h"
#include "primary/save_helper/guest_recovery.h"
#include "primary/save_helper/libxenguest_save.h"
#include "primary/save_helper/save_failure.h"
#include "primary/save_helper/save_session.h"
#include "primary/save_helper/stop_signal.h"
#include "primary/save_helper/xen_guest.h"

namespace romulus {
namespace {

using helper::v1::Failed;
using helper::v1::HelperToAgent;

// The agent may be gone: then nobody is there to be told, and the exit status goes to init.
int EndWithComplete(HelperEnd& agent) {
  HelperToAgent message;
  message.mutable_complete();
  (void)agent.Send(message);
  return 0;
}

int EndWithFailure(HelperEnd& agent, Failed failed) {
  HelperToAgent message;
  *message.mutable_failed() = std::move(failed);
  (void)agent.Send(message);
  return 1;
}

struct Hypervisor {
  // Destroyed last: the handles log through it.
  std::unique_ptr<AgentLogger> logger;
  XcInterface xc;
  std::unique_ptr<Xenstore> store;
  std::unique_ptr<XenGuest> guest;
};

absl::StatusOr<Hypervisor> Open(HelperEnd& agent, uint32_t domid) {
  Hypervisor hypervisor;
  hypervisor.logger = std::make_unique<AgentLogger>(agent);
  absl::StatusOr<XcInterface> xc = OpenXenControl(hypervisor.logger->native());
  if (!xc.ok()) return xc.status();
  hypervisor.xc = *std::move(xc);
  absl::StatusOr<std::unique_ptr<Xenstore>> store = Xenstore::Open();
  if (!store.ok()) return store.status();
  hypervisor.store = *std::move(store);
  absl::StatusOr<std::unique_ptr<XenGuest>> guest = XenGuest::New(hypervisor.xc.get(), hypervisor.store.get(), domid);
  if (!guest.ok()) return guest.status();
  hypervisor.guest = *std::move(guest);
  return hypervisor;
}

int Save(HelperEnd& agent, StopSignal& stop, HelperEnd::Received start) {
  const helper::v1::StartSave& request = start.message.start_save();
  if (start.descriptors.size() != 3 || request.suspend_timeout_ms() == 0 || request.resume_timeout_ms() == 0) {
    Failed failed;
    failed.set_kind(Failed::PROTOCOL);
    failed.set_reason("StartSave needs three descriptors and two timeouts");
    return EndWithFailure(agent, std::move(failed));
  }
  absl::StatusOr<Hypervisor> hypervisor = Open(agent, request.domid());
  if (!hypervisor.ok()) return EndWithFailure(agent, SetupFailure(hypervisor.status()));
  xc_interface* const xc = hypervisor->xc.get();
  XenGuest& guest = *hypervisor->guest;

  const absl::StatusOr<DomainState> state = ReadDomainState(xc, request.domid());
  if (!state.ok()) return EndWithFailure(agent, SetupFailure(state.status()));
  if (absl::Status alive = guest.CheckAlive(); !alive.ok()) return EndWithFailure(agent, SetupFailure(alive));

  const int probe = ProbeLogDirty(xc, request.domid());
  if (probe != 0 && probe != EINVAL) return EndWithFailure(agent, SaveFailure(probe, "", absl::OkStatus()));

  StagingFiles staging(std::move(start.descriptors[0]), std::move(start.descriptors[1]),
                       std::move(start.descriptors[2]));
  SaveSession::Options options;
  options.suspend_timeout = absl::Milliseconds(request.suspend_timeout_ms());
  options.resume_timeout = absl::Milliseconds(request.resume_timeout_ms());
  options.memory_pages = state->memory_pages;
  SaveSession session(agent, guest, staging, stop, MonotonicNow, options);
  hypervisor->logger->ExpectErrorsWhile([&session] { return session.ending() && !session.failure().has_value(); });
  stop.BreakWritesOf(staging.io_descriptor());
  const int error = SaveDomain(xc, staging.io_descriptor(), request.domid(), session);
  stop.BreakWritesOf(-1);
  hypervisor->logger->ExpectErrorsWhile([] { return false; });

  const bool asked = session.StopRequested() && !session.failure().has_value();
  const absl::Status alive = guest.CheckAlive();
  // A suspend that timed out may yet be carried out by the guest.
  const bool may_suspend = session.failure().has_value() && session.failure()->kind() == Failed::SUSPEND_TIMEOUT;
  const absl::Status recovered =
      RecoverGuest(xc, guest, request.domid(), may_suspend ? options.suspend_timeout : absl::ZeroDuration());
  if (asked && recovered.ok()) return EndWithComplete(agent);

  Failed failed =
      session.failure().has_value() ? *session.failure() : SaveFailure(error, hypervisor->logger->first_error(), alive);
  if (asked) failed = SetupFailure(recovered);
  failed.set_guest_left_suspended(!recovered.ok());
  return EndWithFailure(agent, std::move(failed));
}

int Recover(HelperEnd& agent, const helper::v1::Recover& request) {
  absl::StatusOr<Hypervisor> hypervisor = Open(agent, request.domid());
  if (!hypervisor.ok()) return EndWithFailure(agent, SetupFailure(hypervisor.status()));
  const absl::Status recovered =
      RecoverGuest(hypervisor->xc.get(), *hypervisor->guest, request.domid(), absl::Milliseconds(request.settle_ms()));
  if (recovered.ok()) return EndWithComplete(agent);
  Failed failed = SetupFailure(recovered);
  failed.set_guest_left_suspended(true);
  return EndWithFailure(agent, std::move(failed));
}

int Run() {
  signal(SIGPIPE, SIG_IGN);
  const absl::StatusOr<std::unique_ptr<StopSignal>> stop = StopSignal::Install();
  absl::StatusOr<HelperEnd> agent = HelperEnd::TakeFromAgent("romulus-save-helper");
  if (!agent.ok() || !stop.ok()) {
    LogError(agent.ok() ? stop.status().ToString() : agent.status().ToString());
    return 2;
  }
  absl::StatusOr<HelperEnd::Received> first = agent->Receive(absl::Minutes(1));
  if (first.ok() && first->message.has_start_save()) return Save(*agent, **stop, *std::move(first));
  if (first.ok() && first->message.has_recover()) return Recover(*agent, first->message.recover());
  if (first.ok() && first->message.has_stop()) return EndWithComplete(*agent);
  Failed failed;
  failed.set_kind(Failed::PROTOCOL);
  failed.set_reason(first.ok() ? "expected StartSave or Recover" : std::string(first.status().message()));
  return EndWithFailure(*agent, std::move(failed));
}

}  // namespace
}  // namespace romulus

int main() {
  romulus::KeepFreedMemory();
  return romulus::Run();
}
