// romulus-save-helper: takes checkpoints of one domain for the agent that started it. See proto/helper/v1/helper.proto.

#include <signal.h>

#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "common/base/heap.h"
#include "common/base/log.h"
#include "common/base/monotonic_time.h"
#include "common/process/helper_channel.h"
#include "common/xen/control.h"
#include "common/xen/xenstore.h"
#include "primary/save_helper/agent_logger.h"
#include "primary/save_helper/domain_hypercalls.h"
#include "primary/save_helper/guest_recovery.h"
#include "primary/save_helper/pause_priority.h"
#include "primary/save_helper/save_failure.h"
#include "primary/save_helper/save_loop.h"
#include "primary/save_helper/save_session.h"
#include "primary/save_helper/seeding_pipe.h"
#include "primary/save_helper/staging_memory.h"
#include "primary/save_helper/stop_signal.h"
#include "primary/save_helper/suspend_notice.h"
#include "primary/save_helper/xen_guest.h"
#include "primary/save_helper/xen_guest_image.h"

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
  std::unique_ptr<DomainHypercalls> hypercalls;
  std::unique_ptr<Xenstore> store;
  std::unique_ptr<XenGuest> guest;
};

absl::StatusOr<Hypervisor> Open(HelperEnd& agent, uint32_t domid) {
  Hypervisor hypervisor;
  hypervisor.logger = std::make_unique<AgentLogger>(agent);
  absl::StatusOr<XcInterface> xc = OpenXenControl(hypervisor.logger->native());
  if (!xc.ok()) return xc.status();
  hypervisor.xc = *std::move(xc);
  auto hypercalls = DomainHypercalls::New(hypervisor.logger->native(), domid);
  if (!hypercalls.ok()) return hypercalls.status();
  hypervisor.hypercalls = *std::move(hypercalls);
  absl::StatusOr<std::unique_ptr<Xenstore>> store = Xenstore::Open();
  if (!store.ok()) return store.status();
  hypervisor.store = *std::move(store);
  absl::StatusOr<std::unique_ptr<XenGuest>> guest =
      XenGuest::New(hypervisor.xc.get(), hypervisor.hypercalls.get(), hypervisor.store.get(), domid);
  if (!guest.ok()) return guest.status();
  hypervisor.guest = *std::move(guest);
  return hypervisor;
}

// In lockstep the guest gets no event channel that the standby's has not.
void NoticeSuspends(Hypervisor& hypervisor, const helper::v1::StartSave& request) {
  if (request.lockstep()) return;
  auto notice = SuspendNotice::New(hypervisor.xc.get(), hypervisor.logger->native(), hypervisor.hypercalls.get(),
                                   *hypervisor.store);
  if (!notice.ok()) return LogWarning(notice.status().message(), ": pauses are longer");
  hypervisor.guest->Use(*std::move(notice));
}

absl::StatusOr<std::array<StagingMemory, 2>> OpenStaging(UniqueFd first, UniqueFd second, size_t limit) {
  absl::StatusOr<StagingMemory> a = StagingMemory::New(std::move(first), limit);
  if (!a.ok()) return a.status();
  absl::StatusOr<StagingMemory> b = StagingMemory::New(std::move(second), limit);
  if (!b.ok()) return b.status();
  return std::array<StagingMemory, 2>{*std::move(a), *std::move(b)};
}

// Room for every page of the guest, once, and its vCPUs.
size_t LargestCheckpoint(uint64_t memory_pages) {
  constexpr size_t kBytesPerPage = stream_format::kPageBytes + 2 * CheckpointWriter::kEntryBytes;
  constexpr size_t kState = size_t{16} << 20;
  return memory_pages * kBytesPerPage + kState;
}

absl::Status SaveGuest(Hypervisor& hypervisor, SaveSession& session, StopSignal& stop, int agent_descriptor,
                       const SaveLoop::Options& options, std::vector<UniqueFd> descriptors) {
  const absl::StatusOr<uint64_t> pages = hypervisor.hypercalls->MemoryPages();
  if (!pages.ok()) return pages.status();
  if (absl::Status alive = hypervisor.guest->CheckAlive(); !alive.ok()) return alive;
  auto image = XenGuestImage::New(hypervisor.xc.get(), hypervisor.logger->native(), *hypervisor.hypercalls);
  if (!image.ok()) return image.status();
  absl::StatusOr<SeedingPipe> pipe = SeedingPipe::New(std::move(descriptors[0]), {agent_descriptor, stop.descriptor()},
                                                      [&session] { return session.StopRequested(); });
  if (!pipe.ok()) return pipe.status();
  auto staging = OpenStaging(std::move(descriptors[1]), std::move(descriptors[2]), LargestCheckpoint(*pages));
  if (!staging.ok()) return staging.status();
  SaveLoop(**image, session, *std::move(pipe), *std::move(staging), options, MonotonicNow).Run([] {
    // The first copy is long, and nobody waits for it; what follows is short.
    if (absl::Status status = TakePausePriority(); !status.ok()) LogWarning(status.message(), ": pauses may be longer");
  });
  return absl::OkStatus();
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
  if (!hypervisor.ok()) return EndWithFailure(agent, FailureFrom(hypervisor.status()));
  XenGuest& guest = *hypervisor->guest;
  NoticeSuspends(*hypervisor, request);
  SaveSession::Options options;
  options.suspend_timeout = absl::Milliseconds(request.suspend_timeout_ms());
  options.resume_timeout = absl::Milliseconds(request.resume_timeout_ms());
  SaveSession session(agent, guest, stop, MonotonicNow, options);
  session.Fail(SaveGuest(*hypervisor, session, stop, agent.descriptor(),
                         {request.staging_bytes_max(), request.captured_pages_bytes_max(), request.lockstep()},
                         std::move(start.descriptors)));

  const bool asked = session.StopRequested() && !session.failure().has_value();
  // A domain that has gone is the reason for everything else.
  const absl::Status alive = guest.CheckAlive();
  // A suspend that timed out may yet be carried out by the guest.
  const bool may_suspend = session.failure().has_value() && session.failure()->kind() == Failed::SUSPEND_TIMEOUT;
  const absl::Status recovered = RecoverGuest(hypervisor->xc.get(), guest, request.domid(),
                                              may_suspend ? options.suspend_timeout : absl::ZeroDuration());
  if (asked && recovered.ok()) return EndWithComplete(agent);

  Failed failed;
  if (asked) {
    failed = FailureFrom(recovered);
  } else if (absl::IsNotFound(alive) || !session.failure().has_value()) {
    failed = FailureFrom(absl::IsNotFound(alive) ? alive : absl::InternalError("the save ended for no reason"));
  } else {
    failed = *session.failure();
  }
  failed.set_guest_left_suspended(!recovered.ok());
  return EndWithFailure(agent, std::move(failed));
}

int Recover(HelperEnd& agent, const helper::v1::Recover& request) {
  absl::StatusOr<Hypervisor> hypervisor = Open(agent, request.domid());
  if (!hypervisor.ok()) return EndWithFailure(agent, FailureFrom(hypervisor.status()));
  const absl::Status recovered =
      RecoverGuest(hypervisor->xc.get(), *hypervisor->guest, request.domid(), absl::Milliseconds(request.settle_ms()));
  if (recovered.ok()) return EndWithComplete(agent);
  Failed failed = FailureFrom(recovered);
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
