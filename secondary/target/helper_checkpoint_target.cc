#include "secondary/target/helper_checkpoint_target.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/attachments/attachments_record.h"
#include "common/base/log.h"
#include "common/base/memory_file.h"
#include "common/stream/page_runs.h"

namespace romulus {
namespace {

StandbyGap FromProto(const helper::v1::StandbyGap& gap) {
  StandbyGap result;
  result.stop = absl::Microseconds(gap.stop_us());
  result.list = absl::Microseconds(gap.list_us());
  result.checkpoint_wait = absl::Microseconds(gap.checkpoint_wait_us());
  result.close = absl::Microseconds(gap.close_us());
  result.apply = absl::Microseconds(gap.apply_us());
  result.attach = absl::Microseconds(gap.attach_us());
  result.resume = absl::Microseconds(gap.resume_us());
  result.connect = absl::Microseconds(gap.connect_us());
  return result;
}

// Announcements are lost as other frames are; and a switch may take a while to forget the dead host's port.
constexpr absl::Duration kFirstRepeat = absl::Milliseconds(50);
constexpr absl::Duration kLastRepeat = absl::Seconds(3);

}  // namespace

HelperCheckpointTarget::HelperCheckpointTarget(EventLoop& loop, Options options)
    : loop_(loop), options_(std::move(options)) {}

HelperCheckpointTarget::~HelperCheckpointTarget() {
  loop_.Cancel(timer_);
  // A guest that is being started goes on; anything that only waits to be started does not.
  discarded_ = true;
  if (pipe_ != nullptr) pipe_->Cancel();
}

void HelperCheckpointTarget::PostToLoop(std::function<void()> task) {
  loop_.Post([alive = std::weak_ptr<int>(alive_), task = std::move(task)] {
    if (!alive.expired()) task();
  });
}

void HelperCheckpointTarget::Prepare(const replication::v1::DomainDescription& domain, bool lockstep,
                                     CheckpointTarget::Observer* observer) {
  ROMULUS_CHECK(phase_ == Phase::kIdle);
  phase_ = Phase::kPreparing;
  observer_ = observer;
  domain_ = domain;
  lockstep_ = lockstep;
  worker_.Post([this, domain, lockstep] {
    absl::StatusOr<std::unique_ptr<StandbyGuest>> guest = options_.create_guest(domain, lockstep);
    StandbyDomainIds ids;
    if (guest.ok()) {
      guest_ = *std::move(guest);
      ids = guest_->ids();
    }
    PostToLoop([this, status = guest.status(), ids] { OnGuestCreated(status, ids); });
  });
}

void HelperCheckpointTarget::OnGuestCreated(absl::Status status, StandbyDomainIds ids) {
  if (phase_ == Phase::kDiscarding) return;
  ROMULUS_CHECK(phase_ == Phase::kPreparing);
  if (!status.ok()) {
    phase_ = Phase::kBroken;
    observer_->OnPrepared(status, nullptr, 0);
    return;
  }
  if (absl::Status started = StartHelper(ids); !started.ok()) {
    phase_ = Phase::kBroken;
    DestroyGuest([this, started] {
      if (phase_ == Phase::kBroken) observer_->OnPrepared(started, nullptr, 0);
    });
    return;
  }
  phase_ = Phase::kReceiving;
  observer_->OnPrepared(absl::OkStatus(), pipe_, ids.domid);
}

absl::Status HelperCheckpointTarget::StartHelper(const StandbyDomainIds& ids) {
  absl::StatusOr<CheckpointPipe::Ends> ends = CheckpointPipe::New();
  if (!ends.ok()) return ends.status();
  HelperProcess::Options options;
  options.program = options_.restore_helper;
  options.label = absl::StrCat("restore helper of domain ", ids.domid);
  absl::StatusOr<std::unique_ptr<HelperProcess>> helper = HelperProcess::Spawn(loop_, std::move(options), this);
  if (!helper.ok()) return helper.status();
  helper_ = *std::move(helper);
  pipe_ = std::move(ends->writer);
  helper::v1::AgentToHelper order;
  helper::v1::StartRestore* start = order.mutable_start_restore();
  start->set_domid(ids.domid);
  start->set_store_port(ids.store_port);
  start->set_store_domid(ids.store_domid);
  start->set_console_port(ids.console_port);
  start->set_console_domid(ids.console_domid);
  start->set_lockstep(lockstep_);
  for (const replication::v1::Vif& vif : domain_.vifs()) start->add_vif_device_ids(vif.device_id());
  // An error ends the helper: OnExit says it.
  helper_->Send(order, {ends->reader.get()}).IgnoreError();
  return absl::OkStatus();
}

void HelperCheckpointTarget::FinishSeeding(std::string tail, AfterCheckpoint after) {
  Queue(1, std::move(tail), after);
}

void HelperCheckpointTarget::Apply(uint64_t epoch, CheckpointBytes bytes, AfterCheckpoint after) {
  Queue(epoch, std::move(bytes), after);
}

void HelperCheckpointTarget::Queue(uint64_t epoch, CheckpointBytes bytes, AfterCheckpoint after) {
  if (phase_ == Phase::kBroken) return;
  ROMULUS_CHECK(phase_ == Phase::kReceiving);
  ROMULUS_CHECK(lockstep_ || after == AfterCheckpoint::kWait);
  ROMULUS_CHECK(along_ == Along::kNot || along_ == Along::kSuspended);
  const absl::StatusOr<AttachmentsRecord> attachments = FindAttachments(bytes);
  if (!attachments.ok()) return helper_->Terminate(attachments.status());
  if (!lockstep_) return QueueWrite(epoch, std::move(bytes), attachments->length);
  // Before the checkpoint: the helper asks no more.
  helper::v1::AgentToHelper order;
  order.mutable_after_checkpoint()->set_ordinal(epoch);
  order.mutable_after_checkpoint()->set_run(after == AfterCheckpoint::kRun);
  order.mutable_after_checkpoint()->set_attachments_bytes(attachments->body.size());
  UniqueFd file;
  if (!attachments->body.empty()) {
    absl::StatusOr<UniqueFd> made = NewMemoryFile("romulus-attachments", attachments->body);
    if (!made.ok()) return helper_->Terminate(made.status());
    file = *std::move(made);
  }
  // An error ends the helper: OnExit says it.
  (void)(file.valid() ? helper_->Send(order, {file.get()}) : helper_->Send(order));
  along_ = after == AfterCheckpoint::kRun ? Along::kStarting : Along::kNot;
  QueueWrite(epoch, std::move(bytes), attachments->length);
}

void HelperCheckpointTarget::QueueWrite(uint64_t epoch, CheckpointBytes bytes, size_t skip) {
  // Shared because a task has to be copyable; its memory is free again as soon as the helper has it.
  worker_.Post([this, epoch, skip, held = std::make_shared<CheckpointBytes>(std::move(bytes)), pipe = pipe_] {
    const CheckpointBytes bytes = std::move(*held);
    if (write_failed_) return;
    const absl::Status status =
        skip == 0 ? pipe->Write(bytes.pieces()) : pipe->Write(WithoutPrefix(bytes.pieces(), skip));
    if (!status.ok()) {
      write_failed_ = true;
      PostToLoop([this, status] { OnWriteFailed(status); });
      return;
    }
    PostToLoop([this, epoch] { OnWritten(epoch); });
  });
}

void HelperCheckpointTarget::OnWritten(uint64_t epoch) {
  applied_ = epoch;
  if (phase_ != Phase::kReceiving && phase_ != Phase::kRestoring) return;
  observer_->OnApplied(epoch);
  if (phase_ == Phase::kReceiving && when_applied_ != nullptr && epoch == when_applied_epoch_) {
    std::exchange(when_applied_, nullptr)();
  }
}

void HelperCheckpointTarget::WhenApplied(uint64_t epoch, std::function<void()> then) {
  if (applied_ == epoch) return then();
  when_applied_epoch_ = epoch;
  when_applied_ = std::move(then);
}

void HelperCheckpointTarget::OnWriteFailed(const absl::Status& status) {
  // If the helper is dead, OnExit says of what; if it lives, it is of no use any more.
  if (helper_ != nullptr) helper_->Terminate(status);
}

void HelperCheckpointTarget::OnMessage(const helper::v1::HelperToAgent& message) {
  if (message.has_standby_goes_on() && until_it_goes_on_.has_value()) return FinishTakeOver();
  // CheckpointReached: libxc has read a checkpoint. Nothing waits for it: what is in the pipe will be applied.
  if (phase_ != Phase::kReceiving) return;
  if (message.has_standby_running()) {
    OnStandbyRunning(message.standby_running());
  } else if (message.has_standby_suspended()) {
    OnStandbySuspended(message.standby_suspended());
  } else if (message.has_lockstep_refused()) {
    OnLockstepRefused(message.lockstep_refused());
  }
}

void HelperCheckpointTarget::BreakOff(const std::string& what) {
  helper_->Terminate(absl::UnavailableError(absl::StrCat("the restore helper ", what)));
}

void HelperCheckpointTarget::OnStandbyRunning(const helper::v1::StandbyRunning& running) {
  const uint64_t epoch = running.ordinal();
  if (along_ != Along::kStarting || epoch < applied_) return BreakOff("says that the guest runs, out of turn");
  std::optional<StandbyGap> gap;
  if (running.has_gap()) gap = FromProto(running.gap());
  WhenApplied(epoch, [this, epoch, gap] {
    along_ = Along::kRunning;
    if (!frozen_) observer_->OnRunning(epoch, gap.has_value() ? &*gap : nullptr);
  });
}

void HelperCheckpointTarget::OnLockstepRefused(const helper::v1::LockstepRefused& refused) {
  const uint64_t epoch = refused.ordinal();
  if (along_ != Along::kStarting || epoch < applied_) return BreakOff("refuses to run the guest, out of turn");
  const absl::Status why =
      refused.for_good() ? absl::FailedPreconditionError(refused.reason()) : absl::UnavailableError(refused.reason());
  WhenApplied(epoch, [this, epoch, why] {
    along_ = Along::kNot;
    if (!frozen_) observer_->OnLockstepRefused(epoch, why);
  });
}

void HelperCheckpointTarget::Suspend(uint64_t epoch) {
  if (phase_ == Phase::kBroken || frozen_) return;
  ROMULUS_CHECK(phase_ == Phase::kReceiving && along_ == Along::kRunning && epoch == applied_ + 1);
  along_ = Along::kSuspending;
  suspend_epoch_ = epoch;
  dirty_.clear();
  helper::v1::AgentToHelper order;
  order.mutable_suspend_standby();
  helper_->Send(order).IgnoreError();
}

void HelperCheckpointTarget::OnStandbySuspended(const helper::v1::StandbySuspended& suspended) {
  if (along_ != Along::kSuspending) return BreakOff("says that the guest is suspended, out of turn");
  for (const helper::v1::StandbySuspended::Run& run : suspended.runs()) {
    dirty_.push_back({run.first_gfn(), run.count()});
  }
  // In order, they can't be more than there are page frames.
  if (dirty_.size() > domain_.gpfn_count()) return BreakOff("gives more runs of pages than there are pages");
  if (suspended.more()) return;
  if (!ValidPageRuns(dirty_, domain_.gpfn_count())) return BreakOff("gives runs of pages that make no sense");
  along_ = Along::kSuspended;
  observer_->OnSuspended(suspend_epoch_, std::exchange(dirty_, {}));
}

void HelperCheckpointTarget::Freeze() {
  if (phase_ != Phase::kReceiving || !lockstep_ || frozen_) return;
  frozen_ = true;
  helper::v1::AgentToHelper order;
  order.mutable_freeze_standby();
  helper_->Send(order).IgnoreError();
}

void HelperCheckpointTarget::Activate() {
  ROMULUS_CHECK(phase_ == Phase::kReceiving || phase_ == Phase::kBroken);
  if (phase_ == Phase::kBroken) {
    loop_.Post([alive = std::weak_ptr<int>(alive_), this] {
      if (alive.expired() || phase_ != Phase::kBroken) return;
      observer_->OnActivated(absl::FailedPreconditionError("the standby had been lost before"), {});
    });
    return;
  }
  activation_began_ = loop_.Now();
  // A frozen guest is marked as the guest before it goes on: what an agent finds after a crash must not be taken for a
  // standby that may be destroyed.
  const bool goes_on_from_here = along_ == Along::kRunning;
  if (lockstep_ && !(goes_on_from_here && frozen_)) SendActivate();
  if (goes_on_from_here) {
    // No checkpoint to wait for. The helper ends by itself.
    phase_ = Phase::kStarting;
    return TakeOverGuest();
  }
  phase_ = Phase::kRestoring;
  worker_.Post([this, pipe = pipe_] {
    // The helper takes the end of the stream for "take over from the last whole checkpoint": after a failed write that
    // would not be the last committed one.
    if (!write_failed_) pipe->Close();
  });
  timer_ = loop_.After(options_.restore_timeout, [this] {
    helper_->Terminate(absl::DeadlineExceededError(
        absl::StrCat("the last checkpoint was not applied within ", absl::FormatDuration(options_.restore_timeout))));
  });
}

void HelperCheckpointTarget::SendActivate() {
  helper::v1::AgentToHelper order;
  order.mutable_activate_standby();
  helper_->Send(order).IgnoreError();
}

void HelperCheckpointTarget::OnExit(const HelperProcess::Result& result) {
  helper_.reset();
  // Later it is the announcements'.
  if (phase_ != Phase::kStarting && phase_ != Phase::kActive) loop_.Cancel(timer_);
  switch (phase_) {
    case Phase::kReceiving:
      phase_ = Phase::kBroken;
      if (along_ != Along::kNot) {
        // It may run along: nobody could suspend it any more.
        worker_.Post([this] {
          if (absl::Status status = guest_->Halt(); !status.ok()) LogError(status.message());
        });
      }
      observer_->OnBroken(result.status.ok() ? absl::UnavailableError(absl::StrCat(
                                                   "the restore helper ended before its time: ", result.evidence))
                                             : result.status);
      return;
    case Phase::kRestoring:
      if (result.status.ok() && result.complete.has_value()) {
        return result.complete->runs() ? TakeOverGuest() : StartGuest(*result.complete);
      }
      phase_ = Phase::kBroken;
      observer_->OnActivated(
          result.status.ok() ? absl::InternalError("the restore helper did not complete") : result.status, {});
      return;
    case Phase::kDiscarding:
      DestroyGuest([this] {
        phase_ = Phase::kGone;
        observer_->OnDiscarded();
      });
      return;
    case Phase::kBroken:
      return;
    case Phase::kStarting:
    case Phase::kActive:
      // Of a guest that ran along; it goes on without its helper.
      if (!result.status.ok()) LogWarning(result.status.message());
      if (until_it_goes_on_.has_value()) UnfreezeWithoutHelper();
      return;
    default:
      ROMULUS_CHECK(false);
  }
}

void HelperCheckpointTarget::StartGuest(const helper::v1::Complete& complete) {
  phase_ = Phase::kStarting;
  ActivationTimes times_so_far;
  times_so_far.restore = loop_.Now() - activation_began_;
  worker_.Post([this, complete, times_so_far] {
    if (discarded_) return;
    ActivationTimes times = times_so_far;
    const absl::Duration began = loop_.Now();
    const absl::Status status = guest_->Run(complete.store_mfn());
    times.devices = loop_.Now() - began;
    times.total = times.restore + times.devices;
    if (status.ok()) guest_->Settle(complete.store_mfn(), complete.console_mfn());
    PostToLoop([this, status, times] { OnGuestStarted(status, times); });
  });
}

void HelperCheckpointTarget::TakeOverGuest() {
  phase_ = Phase::kStarting;
  ActivationTimes times_so_far;
  times_so_far.restore = loop_.Now() - activation_began_;
  worker_.Post([this, times_so_far] {
    if (discarded_) return;
    ActivationTimes times = times_so_far;
    const absl::Duration began = loop_.Now();
    const absl::Status status = guest_->TakeOver();
    times.devices = loop_.Now() - began;
    times.total = times.restore + times.devices;
    if (status.ok()) guest_->Settle(0, 0);
    PostToLoop([this, status, times] { OnGuestStarted(status, times); });
  });
}

void HelperCheckpointTarget::OnGuestStarted(absl::Status status, const ActivationTimes& times) {
  if (phase_ == Phase::kDiscarding) return;
  if (!status.ok()) {
    phase_ = Phase::kBroken;
    observer_->OnActivated(status, times);
    return;
  }
  if (along_ == Along::kRunning && frozen_) {
    until_it_goes_on_ = times;
    // Its helper may have died meanwhile.
    if (helper_ == nullptr) return UnfreezeWithoutHelper();
    timer_ = loop_.After(options_.restore_timeout, [this] {
      helper_->Terminate(absl::DeadlineExceededError("the restore helper does not let the guest go on"));
    });
    return SendActivate();
  }
  BecomeActive(times);
}

void HelperCheckpointTarget::UnfreezeWithoutHelper() {
  worker_.Post([this] {
    const absl::Status status = guest_->Unfreeze();
    PostToLoop([this, status] {
      if (!status.ok()) LogError(status.message(), ": run it with 'xl unpause'");
      FinishTakeOver();
    });
  });
}

void HelperCheckpointTarget::FinishTakeOver() {
  ActivationTimes times = *std::exchange(until_it_goes_on_, std::nullopt);
  if (phase_ != Phase::kStarting) return;
  loop_.Cancel(timer_);
  times.total = loop_.Now() - activation_began_;
  BecomeActive(times);
}

void HelperCheckpointTarget::BecomeActive(const ActivationTimes& times) {
  phase_ = Phase::kActive;
  AnnounceAfter(kFirstRepeat);
  observer_->OnActivated(absl::OkStatus(), times);
}

void HelperCheckpointTarget::AnnounceAfter(absl::Duration delay) {
  timer_ = loop_.After(delay, [this, delay] {
    worker_.Post([this, delay] {
      const bool complete = guest_->AnnounceAgain();
      // While the guest still connects, as often as it takes; then a few times more, further and further apart.
      const absl::Duration next = complete ? 2 * delay : kFirstRepeat;
      if (next > kLastRepeat) return;
      PostToLoop([this, next] { AnnounceAfter(next); });
    });
  });
}

void HelperCheckpointTarget::Discard() {
  ROMULUS_CHECK(phase_ != Phase::kIdle && phase_ != Phase::kDiscarding && phase_ != Phase::kGone);
  phase_ = Phase::kDiscarding;
  discarded_ = true;
  loop_.Cancel(timer_);
  if (pipe_ != nullptr) pipe_->Cancel();
  if (helper_ != nullptr) {
    helper_->Terminate(absl::CancelledError("the standby is being discarded"));
    return;
  }
  DestroyGuest([this] {
    phase_ = Phase::kGone;
    observer_->OnDiscarded();
  });
}

void HelperCheckpointTarget::DestroyGuest(std::function<void()> then) {
  worker_.Post([this, then = std::move(then)] {
    if (guest_ != nullptr && guest_->running()) {
      LogWarning("domain ", guest_->ids().domid, " runs by now: it is the guest, and stays");
    } else if (guest_ != nullptr) {
      if (absl::Status status = guest_->Destroy(); !status.ok()) LogError("discarding a standby: ", status.message());
    }
    guest_.reset();
    PostToLoop(then);
  });
}

}  // namespace romulus
