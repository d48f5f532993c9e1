#include "secondary/restore_helper/lockstep_restore.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/unique_fd.h"
#include "common/stream/page_runs.h"
#include "common/xen/control.h"
#include "common/xen/handles.h"
#include "common/xen/tool_logger.h"
#include "secondary/restore_helper/conversation.h"
#include "secondary/restore_helper/dirty_list.h"
#include "secondary/restore_helper/gap_clock.h"
#include "secondary/restore_helper/lockstep_guest.h"
#include "secondary/restore_helper/order_queue.h"

extern "C" {
#include <xenguest.h>
}

namespace romulus {
namespace {

using helper::v1::Failed;
using helper::v1::HelperToAgent;
using helper::v1::StandbyGap;

// What libxenguest's callbacks of a COLO restore answer.
constexpr int kGoOn = 1;
constexpr int kEndOfStream = 2;  // It returns 0 then.
constexpr int kFail = 0;

// Runs in one message: some ten bytes each, of 64 KiB.
constexpr size_t kRunsInMessage = 2048;

class LockstepRestore {
 public:
  LockstepRestore(LockstepGuest& guest, OrderQueue& orders, Conversation& agent, GapClock& clock)
      : guest_(guest), orders_(orders), agent_(agent), clock_(clock) {}

  // What failed, beside libxenguest.
  const absl::Status& failure() const { return failure_; }

  // ---- libxenguest's callbacks, in their order ----

  int Checkpoint() {
    // All of the checkpoint is here; from now on the guest's memory is overwritten.
    clock_.Note(&StandbyGap::set_checkpoint_wait_us);
    if (!Note(guest_.FinishClosing())) return XGR_CHECKPOINT_ERROR;
    clock_.Note(&StandbyGap::set_close_us);
    return agent_.ReachCheckpoint() ? XGR_CHECKPOINT_SUCCESS : XGR_CHECKPOINT_ERROR;
  }

  void Results(uint64_t store_gfn, uint64_t console_gfn) {
    store_gfn_ = store_gfn;
    console_gfn_ = console_gfn;
  }

  int Postcopy() {
    clock_.Note(&StandbyGap::set_apply_us);
    if (!std::exchange(tracking_, true) && !Note(guest_.TrackDirtyPages())) return kFail;
    const uint64_t ordinal = agent_.checkpoints();
    const OrderQueue::After after = orders_.WaitAfterCheckpoint(ordinal);
    attachments_ = after.attachments;
    const bool ran_before = state_ == State::kSuspended;
    if (ran_before) state_ = State::kWaiting;
    // Before an activation more checkpoints may be on their way.
    if (!after.run || orders_.activating()) return kGoOn;
    const bool continues = state_ != State::kNew;
    const absl::Status status = continues ? Continue() : StartNew();
    HelperToAgent message;
    if (status.ok()) {
      message.mutable_standby_running()->set_ordinal(ordinal);
      if (ran_before) *message.mutable_standby_running()->mutable_gap() = clock_.gap();
    } else if (absl::IsFailedPrecondition(status)) {
      // Nothing ran: the guest can be started as after a migration.
      if (!Note(guest_.Renew())) return kFail;
      state_ = State::kNew;
      message.mutable_lockstep_refused()->set_ordinal(ordinal);
      message.mutable_lockstep_refused()->set_reason(std::string(status.message()));
    } else {
      Note(status);
      return kFail;
    }
    if (!agent_.Send(message)) return kFail;
    // Nothing waits for it.
    const bool to_finish = continues && status.ok();
    return !to_finish || Note(guest_.FinishResume()) ? kGoOn : kFail;
  }

  int WaitCheckpoint() {
    if (state_ != State::kRunning) return kGoOn;
    if (orders_.Wait() == OrderQueue::Order::kActivate) return kEndOfStream;
    clock_.Begin();
    return kGoOn;
  }

  int Suspend() {
    if (state_ != State::kRunning) return kGoOn;
    if (!Note(guest_.Suspend())) return kFail;
    state_ = State::kSuspended;
    list_wanted_ = true;
    return kGoOn;
  }

  // ---- its list of dirty pages, on a thread of its own ----

  void ReadLists(int pipe, uint64_t gfn_count) {
    while (true) {
      absl::StatusOr<PageRuns> runs = ReadDirtyList(pipe, gfn_count);
      if (!runs.ok()) {
        if (!absl::IsUnavailable(runs.status())) Abort(runs.status());
        return;
      }
      if (!list_wanted_.exchange(false)) continue;
      if (!SendList(WithPagesWrittenLate(*runs, gfn_count))) return;
      clock_.Note(&StandbyGap::set_list_us);
      // While the checkpoint is waited for. Where it fails, so it will before the checkpoint is applied.
      guest_.FinishClosing().IgnoreError();
    }
  }

  // ---- the end ----

  // The guest runs if it can go on as it is: `runs`.
  absl::Status Finish(bool& runs) {
    // The end of the stream comes with this order or right before it.
    if (state_ != State::kRunning) orders_.Wait();
    absl::Status status = state_ == State::kNew ? absl::OkStatus() : guest_.BecomeGuest();
    if (status.ok()) status = guest_.Unfreeze().status();
    if (status.ok() && state_ == State::kSuspended) status = guest_.GoOn();
    if (status.ok() && state_ == State::kWaiting) {
      status = Continue();
      if (status.ok()) status = guest_.FinishResume();
      if (absl::IsFailedPrecondition(status)) {
        agent_.Warn(absl::StrCat(status.message(), ": it is started as after a migration"));
        status = guest_.Renew();
        state_ = State::kNew;
      }
    }
    runs = state_ != State::kNew;
    return status;
  }

 private:
  enum class State {
    kNew,        // Has never run, or not since it was renewed.
    kRunning,    // Runs along, or would but for Freeze.
    kSuspended,  // With its own state.
    kWaiting,    // Suspended, with a checkpoint applied since it ran.
  };

  bool Note(absl::Status status) {
    failure_.Update(std::move(status));
    return failure_.ok();
  }

  absl::Status StartNew() {
    const absl::Status status =
        guest_.Start(store_gfn_, console_gfn_, [this] { return orders_.activating() || guest_.frozen(); });
    if (!status.ok() && !absl::IsDeadlineExceeded(status)) {
      return absl::IsFailedPrecondition(status) ? absl::InternalError(status.message()) : status;
    }
    // It runs, if with its network still closed; the next checkpoint finds out whether it can go on.
    if (!status.ok()) agent_.Warn(std::string(status.message()));
    state_ = State::kRunning;
    return absl::OkStatus();
  }

  absl::Status Continue() {
    replication::v1::GuestAttachments attachments;
    if (attachments_.empty() || !attachments.ParseFromString(attachments_)) {
      return absl::FailedPreconditionError("the checkpoint does not have the guest's grants and event channels");
    }
    absl::Status status = guest_.Continue(attachments);
    if (status.ok()) state_ = State::kRunning;
    return status;
  }

  // xenstored and xenconsoled write to the guest's rings, and Xen does not take it for dirtying them. Backends that are
  // not closed yet may go on writing to what they have mapped, which is the guest to say: frames that are none, or not
  // its memory's, nobody has.
  PageRuns WithPagesWrittenLate(const PageRuns& runs, uint64_t gfn_count) {
    std::vector<uint64_t> pages = guest_.ring_gfns();
    for (const uint64_t gfn : guest_.pages_written_late()) {
      if (gfn < gfn_count) pages.push_back(gfn);
    }
    std::sort(pages.begin(), pages.end());
    pages.erase(std::unique(pages.begin(), pages.end()), pages.end());
    return WithPages(runs, pages);
  }

  bool SendList(const PageRuns& runs) {
    size_t sent = 0;
    do {
      HelperToAgent message;
      helper::v1::StandbySuspended& suspended = *message.mutable_standby_suspended();
      for (; sent < runs.size() && static_cast<size_t>(suspended.runs_size()) < kRunsInMessage; ++sent) {
        helper::v1::StandbySuspended::Run& run = *suspended.add_runs();
        run.set_first_gfn(runs[sent].first_gfn);
        run.set_count(runs[sent].count);
      }
      suspended.set_more(sent < runs.size());
      if (!agent_.Send(message)) return false;
    } while (sent < runs.size());
    return true;
  }

  [[noreturn]] void Abort(const absl::Status& status) {
    guest_.Halt();
    agent_.Send(RestoreFailure(Failed::LIBXENGUEST, std::string(status.message()), 0));
    _exit(1);
  }

  LockstepGuest& guest_;
  OrderQueue& orders_;
  Conversation& agent_;
  GapClock& clock_;
  State state_ = State::kNew;
  bool tracking_ = false;
  uint64_t store_gfn_ = 0, console_gfn_ = 0;
  std::string attachments_;  // Of the checkpoint that was applied last.
  absl::Status failure_;
  std::atomic<bool> list_wanted_{false};
};

struct Callbacks {
  LockstepRestore& restore;
  Conversation& agent;

  static Callbacks& Of(void* data) { return *static_cast<Callbacks*>(data); }
};

}  // namespace

HelperToAgent RestoreInLockstep(const helper::v1::StartRestore& start, int stream, HelperEnd& agent) {
  // Never destroyed: other threads use them until the process ends.
  Conversation& conversation = *new Conversation(agent);
  const ToolLoggerHandle logger =
      NewToolLogger([&](xentoollog_level level, const std::string& text) { conversation.OnLibraryLine(level, text); });
  const absl::StatusOr<XcInterface> xc = OpenXenControl(logger.get());
  if (!xc.ok()) return RestoreFailure(Failed::PRIVILEGE, std::string(xc.status().message()), 0);
  GapClock& clock = *new GapClock;
  absl::StatusOr<std::unique_ptr<LockstepGuest>> opened = LockstepGuest::Open(start, clock);
  if (!opened.ok()) return RestoreFailure(Failed::PRIVILEGE, std::string(opened.status().message()), 0);
  LockstepGuest& guest = *opened->release();
  OrderQueue& orders = *new OrderQueue(agent, {[&guest] { guest.Freeze(); },
                                               [&guest, &agent] {
                                                 // Where it fails, Finish tries again, and says so.
                                                 if (!guest.Unfreeze().value_or(false)) return;
                                                 HelperToAgent message;
                                                 message.mutable_standby_goes_on();
                                                 agent.Send(message).IgnoreError();
                                               },
                                               [&guest](bool activating) {
                                                 // Who runs a guest that is being activated is not us to say.
                                                 if (!activating) guest.Halt();
                                               }});
  LockstepRestore& restore = *new LockstepRestore(guest, orders, conversation, clock);

  xen_pfn_t gfn_count = 0;
  if (xc_domain_nr_gpfns(xc->get(), start.domid(), &gfn_count) < 0) {
    const absl::Status status = XenCallError("can't read its size", start.domid(), errno);
    return RestoreFailure(Failed::LIBXENGUEST, std::string(status.message()), errno);
  }
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return RestoreFailure(Failed::LIBXENGUEST, "can't make a pipe", errno);
  std::thread([&restore, pipe = ends[0], gfn_count] { restore.ReadLists(pipe, gfn_count); }).detach();

  Callbacks data{restore, conversation};
  restore_callbacks callbacks{};
  callbacks.static_data_done = [](unsigned int missing, void* data) {
    Callbacks::Of(data).agent.set_static_data_missing(missing);
    return missing == 0 ? 0 : -1;
  };
  callbacks.checkpoint = [](void* data) { return Callbacks::Of(data).restore.Checkpoint(); };
  callbacks.restore_results = [](xen_pfn_t store_gfn, xen_pfn_t console_gfn, void* data) {
    Callbacks::Of(data).restore.Results(store_gfn, console_gfn);
  };
  callbacks.postcopy = [](void* data) { return Callbacks::Of(data).restore.Postcopy(); };
  callbacks.wait_checkpoint = [](void* data) { return Callbacks::Of(data).restore.WaitCheckpoint(); };
  callbacks.suspend = [](void* data) { return Callbacks::Of(data).restore.Suspend(); };
  callbacks.data = &data;
  unsigned long store_mfn = 0;
  unsigned long console_mfn = 0;
  errno = 0;
  const int result = xc_domain_restore(xc->get(), stream, start.domid(), start.store_port(), &store_mfn,
                                       start.store_domid(), start.console_port(), &console_mfn, start.console_domid(),
                                       XC_STREAM_COLO, &callbacks, /*send_back_fd=*/ends[1]);
  const int error = errno;
  if (!restore.failure().ok()) {
    guest.Halt();
    return RestoreFailure(Failed::LIBXENGUEST, std::string(restore.failure().message()), error);
  }
  if (result != 0) {
    guest.Halt();
    conversation.SendErrors();
    if (conversation.static_data_missing() != 0) {
      return RestoreFailure(Failed::LIBXENGUEST,
                            "the stream lacks the guest's CPUID or MSR policy; the primary host's Xen is too old",
                            error);
    }
    return RestoreFailure(
        Failed::LIBXENGUEST,
        absl::StrCat("restore of domain ", start.domid(), " failed after ", conversation.checkpoints(),
                     " checkpoints: ", conversation.first_error(), " (errno ", error, ")"),
        error);
  }
  HelperToAgent message;
  bool runs = false;
  if (const absl::Status status = restore.Finish(runs); !status.ok()) {
    return RestoreFailure(Failed::LIBXENGUEST, std::string(status.message()), error);
  }
  message.mutable_complete()->set_runs(runs);
  message.mutable_complete()->set_store_mfn(store_mfn);
  message.mutable_complete()->set_console_mfn(console_mfn);
  return message;
}

}  // namespace romulus
