#include "primary/protection/protection.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus::protection {
namespace {

// Between two attempts to reach the secondary: doubled with each failure, from the first to the second of these.
constexpr absl::Duration kReconnectDelayMin = absl::Milliseconds(250);
constexpr absl::Duration kReconnectDelayMax = absl::Seconds(10);
// Before an operation on the guest or its output that has failed is tried again.
constexpr absl::Duration kEnforceDelay = absl::Seconds(1);
// A secondary that lives but does not commit for this many link timeouts is as good as lost.
constexpr int kCommitTimeoutFactor = 10;
// Nor one that does not say within as many that its standby is gone: taking the devices and a domain of some GiB down
// takes seconds. A dead one is noticed sooner, by its silence.
constexpr int kStopTimeoutFactor = 10;

constexpr int kUnpauseTriesMax = 10;

constexpr Timer kTimers[] = {Timer::kReconnect, Timer::kEpoch, Timer::kBoundary, Timer::kCommit,
                             Timer::kStandby,   Timer::kStop,  Timer::kEnforce};

// The secondary takes no session from us, whenever we ask.
bool IsRefusal(const absl::Status& status) {
  return status.code() == absl::StatusCode::kFailedPrecondition ||
         status.code() == absl::StatusCode::kInvalidArgument || status.code() == absl::StatusCode::kResourceExhausted;
}

// So slow that one late commit changes little, so fast that a new load is known after a dozen checkpoints.
absl::Duration Smoothed(absl::Duration usual, absl::Duration latest) {
  return usual == absl::ZeroDuration() ? latest : usual + (latest - usual) / 8;
}

absl::Status TooLow(uint64_t asked, uint64_t highest) {
  return absl::AbortedError(
      absl::StrCat("generation ", asked, " is lower than the highest seen for this protection, ", highest));
}

absl::Status HasEnded() {
  return absl::FailedPreconditionError("the protection has ended; delete it and create it anew");
}

absl::Status IsFenced(uint64_t generation) {
  return absl::FailedPreconditionError(
      absl::StrCat("the other host owns the guest since generation ", generation,
                   ": its copy here stays paused; delete the protection, then remove the domain with `xl destroy`"));
}

}  // namespace

std::vector<action::Action> Protection::Step(const event::Event& event) {
  actions_.clear();
  std::visit([this](const auto& e) { On(e); }, event);
  return std::move(actions_);
}

bool Protection::in_session() const {
  return std::holds_alternative<Seeding>(state_) || std::holds_alternative<Capturing>(state_) ||
         std::holds_alternative<Replicating>(state_) || std::holds_alternative<Running>(state_);
}

// ---- opening ----

void Protection::On(const event::Start& e) {
  ROMULUS_CHECK(in<Idle>() && e.generation > 0);
  if (e.recovered) {
    generation_ = e.stored_generation > 0 ? e.stored_generation : e.generation;
    Do(action::Reply{e.request, absl::OkStatus()});
    recorded_ = true;
    if (e.stored_ownership_moved) return EnterFenced(e.stored_generation, /*confirmed=*/false);
    standby_may_exist_ = true;
    output_ = output_wanted_ = Output::kHeld;
  } else {
    create_requests_.push_back(e.request);
    if (e.generation < e.stored_generation) return End(TooLow(e.generation, e.stored_generation), true, {});
    if (e.stored_ownership_moved && e.generation == e.stored_generation) {
      return End(absl::AbortedError(absl::StrCat("the guest was fenced off this host in generation ",
                                                 e.stored_generation, "; protecting it here takes a higher one")),
                 true, {});
    }
    generation_ = e.generation;
    recorded_ = true;
    Do(action::WriteRecord{generation_, false, false});
  }
  state_ = Attaching{};
  Attach();
}

void Protection::Attach() {
  attached_ = detach_due_ = true;
  Do(action::AttachEgress{});
}

void Protection::On(const event::EgressAttached& e) {
  if (in<Fenced>()) {
    output_ = Output::kHeld;
    Do(action::DiscardHeld{});
    return;
  }
  ROMULUS_CHECK(in<Attaching>() || in<Connecting>());
  if (!create_requests_.empty()) {
    // A fresh protection. An adopted buffer is then what a protection of an earlier life left behind, its record ended
    // or lost; who owns what it holds is not known, so it stays held until the secondary has accepted.
    standby_may_exist_ = e.adopted;
    output_ = output_wanted_ = e.adopted ? Output::kHeld : Output::kFlowing;
  } else if (!e.adopted) {
    // The agent died before it had attached, so before it opened a session, or after it had detached, so after the
    // standby was known to be gone.
    standby_may_exist_ = false;
    output_ = output_wanted_ = Output::kFlowing;
  }
  if (create_requests_.empty()) {
    // A predecessor may have paused it. Running with its output held does no harm; only PAUSE_GUEST leaves it as it is
    // until the secondary has answered.
    guest_ = Guest::kPaused;
    if (standby_may_exist_ && config_.loss_policy == LossPolicy::kPauseGuest) guest_wanted_ = Guest::kPaused;
  }
  if (in<Attaching>()) Connect();
  Enforce();
}

void Protection::Connect() {
  bool again = !in<Attaching>();
  state_ = Connecting{};
  link_ = Link::kOpen;
  ++sessions_;
  Do(action::OpenLink{generation_});
  if (again && !attached_) Attach();  // It failed before; the session does not wait for it.
}

void Protection::On(const event::SessionAccepted&) {
  if (in_session()) return Misbehaved("SessionAccepted twice");
  if (!in<Connecting>()) return;
  ROMULUS_CHECK(source_ == Source::kNone);
  // By accepting, the secondary says that it has not activated and that no older standby exists.
  standby_may_exist_ = false;
  output_wanted_ = Output::kFlowing;
  guest_wanted_ = Guest::kRunning;
  if (!pending_deletes_.empty()) {
    // Reached, and so far nothing can take over.
    StopSession(Aftermath::kDelete, absl::OkStatus(), std::exchange(pending_deletes_, {}));
    return Enforce();
  }
  state_ = Seeding{};
  marked_epoch_.reset();
  usual_send_ = usual_commit_ = usual_suspend_ = usual_copy_ = absl::ZeroDuration();
  pacer_.Forget();
  standby_guest_ = Waits{};
  after_ = AfterCheckpoint::kWaits;
  source_ = Source::kRunning;
  Do(action::StartSource{});
  Enforce();
}

void Protection::On(const event::SeedingBegun& e) {
  if (!in<Seeding>()) {
    ROMULUS_CHECK(source_ == Source::kStopping);
    return;
  }
  // Its trailer follows when the guest has been suspended and resumed, but is the link's to send by now.
  if (lockstep_policy_.has_value()) after_ = lockstep_policy_->Decide(e.now);
  Do(action::SendCheckpoint{1, /*tell_when_sent=*/false, after_});
  ReplyAll(create_requests_, absl::OkStatus());
}

// ---- an epoch ----

void Protection::On(const event::Suspended& e) {
  if (source_ == Source::kStopping) {
    // Nothing will come of this checkpoint; the guest must not wait. Its output is flowing or held for other reasons,
    // and a fenced guest is paused besides.
    Do(action::PermitResume{e.epoch});
    return;
  }
  if (in<Replicating>()) return SuspendedWhileReplicating(e);
  if (in<Seeding>()) {
    ROMULUS_CHECK(e.epoch == 1);
    state_ = Capturing{1, {}, false};
  }
  Capturing* capturing = in<Capturing>();
  ROMULUS_CHECK(capturing != nullptr && capturing->epoch == e.epoch && !capturing->suspended);
  capturing->suspended = true;
  capturing->next_epoch_start = e.now;
  if (e.epoch == 1 && output_ != Output::kFlowing) {
    // Letting the output pass has failed so far: the buffer is in no state to count epochs.
    return On(event::EffectFailed{Effect::kOpenEpoch, last_error_});
  }
  standby_may_exist_ = true;
  output_ = output_wanted_ = Output::kHeld;
  EndEpoch(e.epoch, e.now);
}

void Protection::EndEpoch(uint64_t epoch, absl::Duration now) {
  ROMULUS_CHECK(!marked_epoch_.has_value());
  marked_epoch_ = epoch;
  pressure_ = false;
  Do(action::OpenEpoch{epoch});
  if (lockstep_policy_.has_value()) {
    if (epoch > 1) after_ = lockstep_policy_->Decide(now);
    Do(action::FollowEpoch{epoch, after_});
  }
  Do(action::PermitResume{epoch});
}

void Protection::SuspendedWhileReplicating(const event::Suspended& e) {
  Replicating& replicating = *in<Replicating>();
  ROMULUS_CHECK(replicating.next == Next::kRequested && e.epoch == replicating.epoch + 1);
  replicating.after_next_start = e.now;
  if (marked_epoch_.has_value()) {
    replicating.next = Next::kSuspended;
    Do(action::ArmTimer{Timer::kBoundary, usual_copy_});
    return;
  }
  // The epoch before ended without a mark.
  replicating.next = Next::kResumed;
  EndEpoch(e.epoch, e.now);
}

void Protection::On(const event::Captured& e) {
  if (source_ == Source::kStopping) return;
  usual_suspend_ = Smoothed(usual_suspend_, e.suspend);
  usual_copy_ = Smoothed(usual_copy_, e.copy);
  if (Replicating* replicating = in<Replicating>()) {
    ROMULUS_CHECK(replicating->next == Next::kResumed && e.epoch == replicating->epoch + 1);
    replicating->next = Next::kCaptured;
    return;
  }
  Capturing* capturing = in<Capturing>();
  ROMULUS_CHECK(capturing != nullptr && capturing->suspended && capturing->epoch == e.epoch);
  ROMULUS_CHECK(standby<Suspends>() == nullptr || standby<Suspends>()->listed);
  Replicate(e.epoch, capturing->next_epoch_start, e.now);
}

void Protection::Replicate(uint64_t epoch, absl::Duration next_epoch_start, absl::Duration captured_at) {
  state_ = Replicating{epoch, next_epoch_start, captured_at};
  Do(action::ArmTimer{Timer::kCommit, kCommitTimeoutFactor * config_.link_timeout});
  if (after_ == AfterCheckpoint::kRuns) {
    standby_guest_ = Starts{epoch};
  } else {
    standby_guest_ = Waits{};
  }
  // Checkpoint 1 has been on its way since SeedingBegun.
  if (epoch > 1) Do(action::SendCheckpoint{epoch, /*tell_when_sent=*/MayOverlap(), after_});
  ScheduleNext(captured_at);
}

bool Protection::MayOverlap() const {
  if (std::holds_alternative<Starts>(standby_guest_)) return false;
  return usual_commit_ == absl::ZeroDuration() || usual_commit_ > usual_suspend_ + usual_copy_ || pressure_;
}

void Protection::ScheduleNext(absl::Duration now) {
  // Whether the standby has to be suspended for the next one is not known before it has said that it runs.
  if (standby<Starts>() != nullptr) return;
  // Nothing can be foreseen: its commit will tell.
  if (usual_commit_ == absl::ZeroDuration()) return;
  // The commit comes sooner after the sending than a pause would take: the guest runs until then. Where the host's
  // processors are busy, that makes as many checkpoints, with shorter pauses.
  if (usual_commit_ - usual_send_ <= usual_suspend_ + usual_copy_ && !pressure_) return;
  Replicating& replicating = *in<Replicating>();
  // So early that the commit is to be expected in the middle of the next copy; but not before all was sent
  // (RequestWhileReplicating), or sending and suspending would be in each other's way, and the guest's pause the longer.
  absl::Duration due = replicating.captured_at + usual_commit_ - usual_suspend_ - usual_copy_ / 2;
  const absl::Duration interval_over = replicating.next_epoch_start + pacer_.interval();
  if (!pressure_) due = std::max(due, interval_over);
  due = std::max(due, now);
  replicating.next_is_early = due < interval_over;
  Do(action::ArmTimer{Timer::kEpoch, due - now});
}

void Protection::RequestWhileReplicating() {
  Replicating& replicating = *in<Replicating>();
  replicating.next = Next::kRequested;
  if (replicating.next_is_early) ++early_checkpoints_;
  Do(action::RequestCheckpoint{replicating.epoch + 1});
}

void Protection::On(const event::CheckpointSent& e) {
  Replicating* replicating = in<Replicating>();
  if (replicating == nullptr || replicating->epoch != e.epoch || replicating->sent) return;
  replicating->sent = true;
  if (e.epoch > 1) usual_send_ = Smoothed(usual_send_, e.now - replicating->captured_at);
  if (replicating->next_is_due && replicating->next == Next::kNone) RequestWhileReplicating();
}

void Protection::On(const event::EpochMeasured& e) {
  // The output of epoch 1 is not held, and checkpoint 2 carries what was dirtied while all of the guest was sent:
  // neither says anything of those to come. Nor does an epoch that no interval has ended.
  if (e.epoch > 2 && !e.in_lockstep) pacer_.OnEpoch(e.measured);
}

void Protection::On(const event::OutputPressure& e) {
  if (pressure_ || !in_session() || in<Seeding>()) return;
  pressure_ = true;
  if (standby<Runs>() != nullptr) {
    if (!in<Running>()) return;
    ++early_checkpoints_;
    EndRun(e.now, lockstep::RunEnd::kOther);
  } else if (standby<Starts>() != nullptr) {
    return;  // As soon as it runs.
  } else if (Running* running = in<Running>()) {
    Do(action::CancelTimer{Timer::kEpoch});
    RequestNext(running->epoch, e.now, e.now);
  } else if (Replicating* replicating = in<Replicating>(); replicating != nullptr && replicating->next == Next::kNone) {
    ScheduleNext(e.now);
  }
}

void Protection::On(const event::Commit& e) {
  if (!in<Replicating>() || in<Replicating>()->epoch != e.epoch) {
    if (in_session() || in<Connecting>()) Misbehaved(absl::StrCat("commit of epoch ", e.epoch, " in ", state_name()));
    return;
  }
  const Replicating done = *in<Replicating>();
  committed_epoch_ = e.epoch;
  failed_attempts_ = 0;
  // That of checkpoint 1 is none: it was sent while it was made.
  if (e.epoch > 1) usual_commit_ = Smoothed(usual_commit_, e.now - done.captured_at);
  for (Timer timer : {Timer::kCommit, Timer::kEpoch, Timer::kBoundary}) Do(action::CancelTimer{timer});
  Do(action::NoteCommit{e.epoch});
  // A mark that stands further back, behind epochs that are not committed yet, stays.
  if (marked_epoch_ == e.epoch) {
    marked_epoch_.reset();
    Do(action::ReleaseEpoch{e.epoch});
  }
  if (standby<Waits>() != nullptr) NoteRunsCheckpoint(e.now);
  const uint64_t next = e.epoch + 1;
  switch (done.next) {
    case Next::kNone:
      return RequestNext(next, done.next_epoch_start, e.now);
    case Next::kRequested:
      state_ = Capturing{next, {}, false};
      return;
    case Next::kSuspended:
      state_ = Capturing{next, done.after_next_start, true};
      EndEpoch(next, e.now);
      return;
    case Next::kResumed:
      state_ = Capturing{next, done.after_next_start, true};
      return;
    case Next::kCaptured:
      return Replicate(next, done.after_next_start, e.now);
  }
}

void Protection::Request(uint64_t epoch) {
  state_ = Capturing{epoch, {}, false};
  const bool with_standby_pages = standby<Runs>() != nullptr;
  if (with_standby_pages) {
    standby_guest_ = Suspends{epoch};
    Do(action::ArmTimer{Timer::kStandby, config_.link_timeout});
  }
  Do(action::RequestCheckpoint{epoch, with_standby_pages});
}

void Protection::RequestNext(uint64_t epoch, absl::Duration epoch_start, absl::Duration now) {
  if (standby<Starts>() != nullptr) {
    state_ = Running{epoch, epoch_start};
    Do(action::ArmTimer{Timer::kStandby, kCommitTimeoutFactor * config_.link_timeout});
    return;
  }
  absl::Duration remaining = epoch_start + pacer_.interval() - now;
  const bool early = pressure_ && remaining > absl::ZeroDuration();
  if (early) ++early_checkpoints_;
  if (remaining > absl::ZeroDuration() && !early) {
    state_ = Running{epoch, epoch_start};
    Do(action::ArmTimer{Timer::kEpoch, remaining});
  } else {
    Request(epoch);
  }
}

// ---- the end of a session ----

void Protection::StopSource() {
  if (source_ != Source::kRunning) return;
  source_ = Source::kStopping;
  // First: what is on its way must not become a whole checkpoint any more.
  Do(action::CancelTransfer{});
  Do(action::StopSource{});
}

void Protection::CloseLink() {
  if (link_ == Link::kNone) return;
  link_ = Link::kNone;
  Do(action::CloseLink{});
}

void Protection::StopSession(Aftermath aftermath, absl::Status why, std::vector<RequestId> requests) {
  ROMULUS_CHECK(link_ == Link::kOpen);
  if (aftermath == Aftermath::kRetry && !create_requests_.empty()) aftermath = Aftermath::kFail;
  if (!why.ok()) NoteError(why);
  for (Timer timer : {Timer::kEpoch, Timer::kBoundary, Timer::kCommit, Timer::kStandby}) Do(action::CancelTimer{timer});
  EndLockstep();
  StopSource();
  Do(action::SendStopSession{why.ok() ? "protection is being deleted" : std::string(why.message())});
  Do(action::ArmTimer{Timer::kStop, kStopTimeoutFactor * config_.link_timeout});
  state_ = StoppingSession{aftermath, std::move(why), std::move(requests), false};
}

void Protection::On(const event::SessionStopped&) {
  if (in<StoppingSession>() || in_session()) {
    SessionVoid(absl::UnavailableError("the secondary has stopped the session"));
  } else if (in<Connecting>()) {
    Misbehaved("SessionStopped before SessionAccepted");
  }
}

void Protection::On(const event::StandbyFailed& e) {
  if (in<StoppingSession>() || in_session()) {
    SessionVoid(absl::UnavailableError(absl::StrCat("the secondary has given up its standby: ", e.reason)));
  } else if (in<Connecting>()) {
    Misbehaved("StandbyFailed before SessionAccepted");
  }
}

void Protection::SessionVoid(absl::Status why) {
  standby_may_exist_ = false;
  output_wanted_ = Output::kFlowing;
  guest_wanted_ = Guest::kRunning;
  CloseLink();
  if (StoppingSession* stopping = in<StoppingSession>()) {
    StoppingSession ended = std::move(*stopping);
    return Unwind(ended.aftermath, std::move(ended.why), std::move(ended.requests));
  }
  Unwind(Aftermath::kRetry, std::move(why), {});
}

void Protection::On(const event::LinkClosed& e) {
  if (link_ == Link::kNone) return;
  link_ = Link::kNone;
  if (in<Fenced>() || in<Ended>()) return;
  absl::Status why = e.status.ok() ? absl::UnavailableError("the secondary has ended the session") : e.status;
  if (!create_requests_.empty()) {
    // Not yet protected: nothing is held, no standby of this session is whole, and the guest ran here before anybody
    // asked. Whatever the reason, creation fails and the guest runs on.
    WantLossPolicy();
    return Unwind(Aftermath::kFail, why, {});
  }
  if (why.code() == absl::StatusCode::kAborted) {
    NoteError(why);
    return EnterFenced(generation_, /*confirmed=*/false);
  }
  if (IsRefusal(why) && !in<StoppingSession>() &&
      (!standby_may_exist_ || config_.loss_policy == LossPolicy::kRunUnprotected)) {
    // Trying again does not help, and the output may flow. Where it may not (an older standby may be there, the policy
    // is to hold), FAILED would have to break its promise that output flows: that case goes on as a lost secondary.
    WantLossPolicy();
    return Unwind(Aftermath::kFail, why, {});
  }
  SecondaryLost(why);
}

void Protection::Misbehaved(const std::string& what) {
  CloseLink();
  absl::Status why = absl::InternalError(absl::StrCat("the secondary broke the protocol: ", what));
  if (!create_requests_.empty()) {
    WantLossPolicy();
    return Unwind(Aftermath::kFail, why, {});
  }
  SecondaryLost(why);
}

void Protection::On(const event::PeerMisbehaved& e) {
  if (in_session() || in<Connecting>() || in<StoppingSession>()) Misbehaved(e.what);
}

void Protection::SecondaryLost(absl::Status why) {
  Aftermath aftermath = Aftermath::kRetry;
  std::vector<RequestId> requests;
  if (StoppingSession* stopping = in<StoppingSession>()) {
    aftermath = stopping->aftermath;
    requests = std::move(stopping->requests);
    if (!stopping->why.ok()) why = stopping->why;
    if (aftermath == Aftermath::kDelete && standby_may_exist_) {
      if (stopping->unprotect_without_secondary) {
        standby_may_exist_ = false;  // The caller's word.
      } else {
        RefuseDeletes(requests, why);
        aftermath = domain_gone_ ? Aftermath::kFail : Aftermath::kRetry;
      }
    } else if (aftermath == Aftermath::kFail && !domain_gone_ && standby_may_exist_ &&
               config_.loss_policy != LossPolicy::kRunUnprotected) {
      // FAILED promises that output flows, and it may not: hold, and try to reach the secondary again.
      aftermath = Aftermath::kRetry;
    }
  }
  RefuseDeletes(pending_deletes_, why);
  WantLossPolicy();
  Unwind(aftermath, std::move(why), std::move(requests));
}

void Protection::RefuseDeletes(std::vector<RequestId>& requests, const absl::Status& why) {
  ReplyAll(requests, absl::FailedPreconditionError(absl::StrCat(
                         "the secondary can't be reached (", std::string(why.message()),
                         "), so it is not known whether it has taken over: make sure that it has not, then delete with "
                         "unprotect_without_secondary")));
}

void Protection::WantLossPolicy() {
  bool release = !standby_may_exist_ || config_.loss_policy == LossPolicy::kRunUnprotected;
  output_wanted_ = release ? Output::kFlowing : Output::kHeld;
  guest_wanted_ = !release && config_.loss_policy == LossPolicy::kPauseGuest ? Guest::kPaused : Guest::kRunning;
}

void Protection::Unwind(Aftermath aftermath, absl::Status why, std::vector<RequestId> requests) {
  if (aftermath == Aftermath::kRetry && !create_requests_.empty()) aftermath = Aftermath::kFail;
  if (!why.ok()) NoteError(why);
  for (Timer timer :
       {Timer::kEpoch, Timer::kBoundary, Timer::kCommit, Timer::kStandby, Timer::kStop, Timer::kReconnect}) {
    Do(action::CancelTimer{timer});
  }
  EndLockstep();
  StopSource();
  state_ = Unwinding{aftermath, std::move(why), std::move(requests)};
  if (source_ == Source::kNone) return AfterUnwinding();
  Enforce();
}

void Protection::AfterUnwinding() {
  Unwinding done = std::move(*in<Unwinding>());
  switch (done.aftermath) {
    case Aftermath::kRetry:
      if (pending_deletes_.empty()) return BackOff();
      Connect();  // Somebody waits for the answer.
      return Enforce();
    case Aftermath::kFail:
      // Creation failed over a buffer found in place, with nobody's word that its content may leave: as it was.
      if (output_wanted_ == Output::kHeld && !domain_gone_) detach_due_ = false;
      return End(std::move(done.why), output_wanted_ == Output::kFlowing, std::move(done.requests));
    case Aftermath::kDelete:
      return End(absl::OkStatus(), output_wanted_ == Output::kFlowing, std::move(done.requests));
  }
}

void Protection::BackOff() {
  absl::Duration delay = kReconnectDelayMax;
  if (failed_attempts_ < 6) delay = std::min(delay, kReconnectDelayMin * (1 << failed_attempts_));
  ++failed_attempts_;
  state_ = BackingOff{};
  Do(action::ArmTimer{Timer::kReconnect, delay});
  Enforce();
}

void Protection::On(const event::SourceEnded& e) {
  ROMULUS_CHECK(source_ != Source::kNone);
  bool asked = source_ == Source::kStopping;
  source_ = Source::kNone;
  absl::Status why = e.status;
  if (why.ok() && !asked) why = absl::UnavailableError("the source of checkpoints ended unasked");
  if (absl::IsNotFound(why)) domain_gone_ = true;
  // A new source would end in the same way.
  bool for_good = absl::IsNotFound(why) || why.code() == absl::StatusCode::kFailedPrecondition;

  if (in_session()) {
    Do(action::CancelTransfer{});
    return StopSession(for_good ? Aftermath::kFail : Aftermath::kRetry, std::move(why));
  }
  if (StoppingSession* stopping = in<StoppingSession>()) {
    if (for_good && stopping->aftermath == Aftermath::kRetry) {
      stopping->aftermath = Aftermath::kFail;
      stopping->why = why;
    }
    return;
  }
  if (Unwinding* unwinding = in<Unwinding>()) {
    if (unwinding->aftermath == Aftermath::kRetry &&
        (domain_gone_ || (for_good && output_wanted_ == Output::kFlowing))) {
      unwinding->aftermath = Aftermath::kFail;
      unwinding->why = why;
      NoteError(why);
    }
    return AfterUnwinding();
  }
  Fenced* fenced = in<Fenced>();
  ROMULUS_CHECK(fenced != nullptr);
  if (!fenced->delete_requests.empty()) End(absl::OkStatus(), false, std::move(fenced->delete_requests));
}

// ---- fencing ----

void Protection::On(const event::FenceReceived& e) {
  if (Fenced* fenced = in<Fenced>()) {
    if (link_ == Link::kNone || !fenced->confirmed || e.next_generation < fenced->generation) return;
    if (e.next_generation > fenced->generation) {
      fenced->generation = generation_ = e.next_generation;
      Do(action::WriteRecord{generation_, true, false});
    }
    Do(action::SendFenced{e.next_generation});
    return;
  }
  if (in<Connecting>()) return Misbehaved("Fence before SessionAccepted");
  // While StopSession is on its way, the two have crossed: the secondary, when it gets there, destroys its standby.
  // Stopping the guest now would leave it running nowhere.
  if (!in_session()) return;
  // A control plane that issued a higher generation to this side does not want that takeover. No answer is the answer:
  // the secondary gives up after the link timeout.
  if (e.next_generation <= generation_) return;
  BeginFence({e.next_generation, /*by_peer=*/true, {}});
}

void Protection::On(const event::FenceRequested& e) {
  if (Fenced* fenced = in<Fenced>()) {
    if (e.generation < fenced->generation) {
      Do(action::Reply{e.request, TooLow(e.generation, fenced->generation)});
    } else if (!fenced->confirmed) {
      Do(action::Reply{e.request, absl::UnavailableError(absl::StrCat("not yet confirmed, still trying: ",
                                                                      std::string(last_error_.message())))});
    } else if (e.generation > fenced->generation) {
      BeginFence({e.generation, /*by_peer=*/false, {e.request}});
    } else {
      Do(action::Reply{e.request, absl::OkStatus()});
    }
    return;
  }
  if (in<Ended>()) {
    Do(action::Reply{e.request, HasEnded()});
  } else if (e.generation < generation_) {
    Do(action::Reply{e.request, TooLow(e.generation, generation_)});
  } else if (in<StoppingSession>()) {
    Do(action::Reply{e.request, absl::UnavailableError("the secondary is just being told to destroy its standby, which "
                                                       "leaves nothing to take over; ask again in a moment")});
  } else if (e.generation == generation_) {
    Do(action::Reply{e.request, absl::InvalidArgumentError(absl::StrCat(
                                    "generation: fencing takes a higher one than the protection's, ", generation_))});
  } else {
    BeginFence({e.generation, /*by_peer=*/false, {e.request}});
  }
}

// Paused first, then put on record: dying between the two leaves a guest that the next start lets run again, and never
// a record that says "fenced" about a guest that runs.
void Protection::BeginFence(PendingFence fence) {
  ROMULUS_CHECK(!pending_fence_.has_value());
  pending_fence_ = std::move(fence);
  guest_ = Guest::kPaused;
  Do(action::PauseGuest{});
  Do(action::WriteRecord{pending_fence_->generation, true, false});
  Do(action::Continue{Milestone::kFence});
}

void Protection::EnterFenced(uint64_t generation, bool confirmed) {
  absl::Status fenced_off = IsFenced(generation);
  if (StoppingSession* stopping = in<StoppingSession>()) ReplyAll(stopping->requests, fenced_off);
  if (Unwinding* unwinding = in<Unwinding>()) ReplyAll(unwinding->requests, fenced_off);
  ReplyAll(create_requests_, fenced_off);
  ReplyAll(pending_deletes_, fenced_off);
  for (Timer timer : kTimers) Do(action::CancelTimer{timer});
  EndLockstep();
  StopSource();
  generation_ = generation;
  moved_ = true;
  standby_may_exist_ = true;
  output_wanted_ = Output::kHeld;
  guest_wanted_ = Guest::kPaused;
  std::vector<RequestId> delete_requests;
  if (Fenced* before = in<Fenced>()) delete_requests = std::move(before->delete_requests);
  state_ = Fenced{generation, confirmed, std::move(delete_requests)};
  RepeatFencing(confirmed ? 2 : 0);
}

// 0: pause, 1: put on record, 2: drop what is held.
void Protection::RepeatFencing(int from_step) {
  if (from_step == 0) {
    guest_ = Guest::kPaused;
    Do(action::PauseGuest{});
  }
  if (from_step <= 1) {
    Do(action::WriteRecord{generation_, true, false});
    if (guest_ == Guest::kPaused) Do(action::Continue{Milestone::kFence});
  }
  if (attached_) {
    output_ = Output::kHeld;
    Do(action::DiscardHeld{});
  } else {
    Attach();
  }
}

void Protection::On(const event::Continued& e) {
  if (e.milestone == Milestone::kUpdate) {
    event::UpdateRequested update = *std::exchange(pending_update_, std::nullopt);
    generation_ = std::max(generation_, update.generation);
    return ApplyUpdate(update);
  }
  if (!pending_fence_.has_value()) {
    if (Fenced* fenced = in<Fenced>()) fenced->confirmed = true;
    return;
  }
  PendingFence fence = *std::exchange(pending_fence_, std::nullopt);
  ReplyAll(fence.requests, absl::OkStatus());
  // Before it is said: from then on the standby may go on without this guest.
  EndLockstep();
  // The link stays open behind Fenced: closing it could overtake the message. The secondary closes it.
  if (fence.by_peer) {
    Do(action::SendFenced{fence.generation});
  } else {
    CloseLink();
  }
  NoteError(
      absl::AbortedError(absl::StrCat("fenced: the other host owns the guest from generation ", fence.generation)));
  EnterFenced(fence.generation, /*confirmed=*/true);
}

// ---- requests ----

void Protection::On(const event::DeleteRequested& e) {
  if (e.generation < generation_) {
    Do(action::Reply{e.request, TooLow(e.generation, generation_)});
    return;
  }
  // Put on record at the end. The session, and the next one if deletion fails, keep the generation that is ours: this
  // one may be another owner's.
  deletion_generation_ = std::max(deletion_generation_, e.generation);
  if (in_session()) {
    ReplyAll(create_requests_, absl::CancelledError("deleted while it was being created"));
    StopSession(Aftermath::kDelete, absl::OkStatus(), {e.request});
    in<StoppingSession>()->unprotect_without_secondary = e.unprotect_without_secondary;
  } else if (StoppingSession* stopping = in<StoppingSession>()) {
    stopping->aftermath = Aftermath::kDelete;
    stopping->requests.push_back(e.request);
    stopping->unprotect_without_secondary |= e.unprotect_without_secondary;
  } else if (Fenced* fenced = in<Fenced>(); fenced != nullptr && !fenced->confirmed) {
    // Without its buffer, a guest that could not be paused yet would be heard.
    Do(action::Reply{e.request, absl::FailedPreconditionError(absl::StrCat(
                                    "the other host owns the guest, and its copy here could not be stopped yet (",
                                    std::string(last_error_.message()), "); that is being retried: ask again"))});
  } else if (fenced != nullptr) {
    fenced->delete_requests.push_back(e.request);
    if (source_ == Source::kNone) End(absl::OkStatus(), false, std::move(fenced->delete_requests));
  } else if (Ended* ended = in<Ended>()) {
    End(absl::OkStatus(), ended->release, {e.request});
  } else if (standby_may_exist_ && !e.unprotect_without_secondary) {
    // Whether it can be reached now is to be tried, not guessed from how it was.
    pending_deletes_.push_back(e.request);
    if (in<BackingOff>()) {
      Do(action::CancelTimer{Timer::kReconnect});
      Connect();
    }
  } else {
    standby_may_exist_ = false;  // Known, or the caller's word.
    output_wanted_ = Output::kFlowing;
    guest_wanted_ = Guest::kRunning;
    ReplyAll(create_requests_, absl::CancelledError("deleted while it was being created"));
    std::vector<RequestId> requests;
    if (Unwinding* unwinding = in<Unwinding>()) requests = std::move(unwinding->requests);
    requests.push_back(e.request);
    for (RequestId pending : std::exchange(pending_deletes_, {})) requests.push_back(pending);
    CloseLink();
    Unwind(Aftermath::kDelete, absl::OkStatus(), std::move(requests));
  }
}

void Protection::On(const event::UpdateRequested& e) {
  absl::Status refusal;
  if (e.generation != 0 && e.generation < generation_) {
    refusal = TooLow(e.generation, generation_);
  } else if (Fenced* fenced = in<Fenced>()) {
    refusal = IsFenced(fenced->generation);
  } else if (in<Ended>()) {
    refusal = HasEnded();
  } else if (e.loss_policy == LossPolicy::kRunUnprotected && config_.failover_policy == FailoverPolicy::kOnLinkLoss) {
    refusal = absl::InvalidArgumentError(
        "secondary_loss_policy: RUN_UNPROTECTED with ON_LINK_LOSS would release the output of a guest that the "
        "secondary has just activated; use HOLD_OUTPUT or PAUSE_GUEST");
  }
  if (!refusal.ok()) {
    Do(action::Reply{e.request, refusal});
  } else {
    pending_update_ = e;
    Do(action::WriteRecord{std::max(generation_, e.generation), false, false});
    Do(action::Continue{Milestone::kUpdate});
  }
}

void Protection::ApplyUpdate(const event::UpdateRequested& update) {
  Do(action::Reply{update.request, absl::OkStatus()});
  if (update.pacing.has_value()) {
    config_.pacing = *update.pacing;
    pacer_.Change(config_.pacing);
  }
  if (!update.loss_policy.has_value()) return;
  config_.loss_policy = *update.loss_policy;
  // Where the policy is in force and holds, the new one decides: RUN_UNPROTECTED is the control plane's word that this
  // host owns the guest. What already flows can't be called back: there the new policy counts from the next loss on.
  bool in_force = in<Connecting>() || in<BackingOff>() || in<Unwinding>();
  if (!in_force || output_wanted_ != Output::kHeld) return;
  WantLossPolicy();
  Enforce();
}

// ---- enforcement ----

void Protection::Enforce() {
  if (guest_ != guest_wanted_) {
    if (guest_wanted_ == Guest::kRunning) {
      guest_ = Guest::kRunning;
      Do(action::UnpauseGuest{});
    } else if (source_ == Source::kNone) {
      // Not before the source has ended: a paused guest can't answer its suspend request. Its output is held anyway.
      guest_ = Guest::kPaused;
      Do(action::PauseGuest{});
    }
  }
  if (attached_ && output_ == Output::kHeld && output_wanted_ == Output::kFlowing) {
    output_ = Output::kFlowing;
    Do(action::PassThrough{});
  }
}

void Protection::On(const event::TimerFired& e) {
  switch (e.timer) {
    case Timer::kReconnect:
      if (in<BackingOff>()) Connect();
      return;
    case Timer::kEpoch:
      if (in<Running>() && standby<Runs>() != nullptr) {
        EndRun(e.now, lockstep::RunEnd::kLength);
      } else if (Running* running = in<Running>()) {
        Request(running->epoch);
      } else if (Replicating* replicating = in<Replicating>();
                 replicating != nullptr && replicating->next == Next::kNone) {
        replicating->next_is_due = true;
        if (replicating->sent) RequestWhileReplicating();
      }
      return;
    case Timer::kBoundary:
      if (Replicating* replicating = in<Replicating>();
          replicating != nullptr && replicating->next == Next::kSuspended) {
        replicating->next = Next::kResumed;
        Do(action::PermitResume{replicating->epoch + 1});
      }
      return;
    case Timer::kCommit:
      if (Replicating* replicating = in<Replicating>()) {
        StopSession(Aftermath::kRetry, absl::DeadlineExceededError(absl::StrCat(
                                           "the secondary lives but does not commit epoch ", replicating->epoch)));
      }
      return;
    case Timer::kStandby:
      if (!in_session()) return;
      if (Suspends* suspends = standby<Suspends>()) {
        StopSession(Aftermath::kRetry, absl::UnavailableError(absl::StrCat(
                                           "the secondary lives but does not say what its standby has "
                                           "written to, for checkpoint ",
                                           suspends->epoch, ", within ", absl::FormatDuration(config_.link_timeout))));
      } else if (Starts* starts = standby<Starts>()) {
        StopSession(Aftermath::kRetry,
                    absl::UnavailableError(absl::StrCat("the secondary lives but does not say whether its standby "
                                                        "runs from checkpoint ",
                                                        starts->epoch)));
      }
      return;
    case Timer::kStop:
      if (in<StoppingSession>()) {
        CloseLink();
        SecondaryLost(absl::DeadlineExceededError("the secondary does not answer StopSession"));
      }
      return;
    case Timer::kEnforce:
      if (Fenced* fenced = in<Fenced>()) {
        RepeatFencing(fenced->confirmed ? 2 : 0);
      } else if (in<Ended>()) {
        EndSteps(0);
      } else {
        Enforce();
      }
      return;
  }
}

void Protection::On(const event::EffectFailed& e) {
  NoteError(e.status);

  if (pending_fence_.has_value()) {
    if (e.effect == Effect::kPause && absl::IsNotFound(e.status)) {
      // There is no guest that could run.
      Do(action::WriteRecord{pending_fence_->generation, true, false});
      Do(action::Continue{Milestone::kFence});
      return;
    }
    PendingFence fence = *std::exchange(pending_fence_, std::nullopt);
    ReplyAll(fence.requests, absl::InternalError(absl::StrCat("not fenced, nothing has been changed: ",
                                                              std::string(e.status.message()))));
    Enforce();  // Lets it run again, unless it is to be paused.
    return;
  }
  if (pending_update_.has_value()) {
    Do(action::Reply{pending_update_->request, e.status});
    pending_update_.reset();
    return;
  }
  if (Fenced* fenced = in<Fenced>()) {
    bool no_guest = e.effect == Effect::kPause && absl::IsNotFound(e.status);
    if (no_guest) return RepeatFencing(1);
    if (e.effect == Effect::kAttach) {  // The vif is gone, so nothing can leave through it.
      attached_ = false;
      return;
    }
    Do(action::ArmTimer{Timer::kEnforce, kEnforceDelay});
    if (e.effect == Effect::kPause) {
      guest_ = Guest::kRunning;
      return RepeatFencing(1);
    }
    if (e.effect == Effect::kWriteRecord && !fenced->confirmed) return RepeatFencing(2);
    return;
  }
  if (Ended* ended = in<Ended>()) {
    if (e.effect == Effect::kUnpause) {
      if (ended->release) output_ = Output::kHeld;  // What stood behind it was not done either.
      if (absl::IsNotFound(e.status)) return EndSteps(1);
      // Protection must not end with a guest that it has paused.
      guest_ = Guest::kPaused;
      if (++ended->unpause_failures < kUnpauseTriesMax) {
        ended->retrying = true;
        Do(action::ArmTimer{Timer::kEnforce, kEnforceDelay});
        return;
      }
    }
    // Without its buffer the guest's output passes, though what was held may be lost.
    if (e.effect == Effect::kPassThrough) return EndSteps(2);
    if (ended->why.ok()) ended->why = e.status;
    ReplyAll(create_requests_, e.status);
    ReplyAll(pending_deletes_, e.status);
    return ReplyAll(ended->requests, e.status);
  }

  switch (e.effect) {
    case Effect::kAttach:
      attached_ = false;
      if (in<Connecting>()) return;
      ROMULUS_CHECK(in<Attaching>());
      if (!create_requests_.empty()) return End(e.status, true, {});
      // Recovered: what a predecessor put there holds what it holds. The session is what tells how it stands: whether
      // the guest is still ours, whether there still is a guest.
      guest_ = Guest::kPaused;
      if (config_.loss_policy == LossPolicy::kPauseGuest) guest_wanted_ = Guest::kPaused;
      Connect();
      return Enforce();
    case Effect::kWriteRecord:
      ROMULUS_CHECK(in<Attaching>());  // Of Start: nothing has been done yet.
      attached_ = detach_due_ = false;
      return End(e.status, true, {});
    case Effect::kOpenEpoch: {
      // The guest must go on, but this checkpoint must never be committed: output of two epochs would be released
      // together, or (epoch 1) flow without being held. So the session ends; until then, what is held stays held.
      Capturing* capturing = in<Capturing>();
      ROMULUS_CHECK(capturing != nullptr || in<Replicating>());
      uint64_t epoch = capturing != nullptr ? capturing->epoch : in<Replicating>()->epoch + 1;
      Do(action::CancelTransfer{});
      Do(action::PermitResume{epoch});
      if (epoch == 1) standby_may_exist_ = false;  // Its reader is cancelled before its end: it can't become whole.
      StopSession(Aftermath::kRetry,
                  absl::UnavailableError(absl::StrCat("the egress buffer could not open epoch ", epoch + 1, ": ",
                                                      std::string(e.status.message()))));
      if (epoch == 1) {
        output_ = Output::kHeld;  // Some vif's may be.
        WantLossPolicy();
        Enforce();
      }
      return;
    }
    case Effect::kRelease:
      ROMULUS_CHECK(in_session());
      StopSession(Aftermath::kRetry,
                  absl::UnavailableError(absl::StrCat("the egress buffer could not release epoch ", committed_epoch_,
                                                      ": ", std::string(e.status.message()))));
      return;
    case Effect::kPassThrough:
    case Effect::kPause:
    case Effect::kUnpause:
      // What stood behind it in the list was not done either: both count as not as wanted.
      if (output_wanted_ == Output::kFlowing) output_ = Output::kHeld;
      guest_ = guest_wanted_ == Guest::kRunning ? Guest::kPaused : Guest::kRunning;
      Do(action::ArmTimer{Timer::kEnforce, kEnforceDelay});
      return;
    case Effect::kDiscard:
    case Effect::kDetach:
      ROMULUS_CHECK_MESSAGE(false, "only fenced or ended protections discard or detach");
  }
}

// ---- the end ----

void Protection::End(absl::Status why, bool release, std::vector<RequestId> requests) {
  for (Timer timer : kTimers) Do(action::CancelTimer{timer});
  CloseLink();
  if (!why.ok()) NoteError(why);
  state_ = Ended{std::move(why), release, std::move(requests), false, 0};
  EndSteps(0);
}

// 0: let the guest run, 1: let the output flow, 2: remove the buffer, put on record.
void Protection::EndSteps(int from_step) {
  Ended& ended = *in<Ended>();
  ended.retrying = false;
  if (from_step == 0 && guest_ == Guest::kPaused && ended.release && !domain_gone_ && !moved_) {
    guest_ = Guest::kRunning;
    Do(action::UnpauseGuest{});
  }
  if (from_step <= 1 && attached_ && ended.release && output_ == Output::kHeld) {
    output_ = Output::kFlowing;
    Do(action::PassThrough{});
  }
  if (detach_due_) Do(action::DetachEgress{});
  if (recorded_) Do(action::WriteRecord{std::max(generation_, deletion_generation_), moved_, true});
  // Remembered until the driver is gone: if one of the above fails, they are answered with the error instead.
  for (RequestId request : pending_deletes_) Do(action::Reply{request, absl::OkStatus()});
  for (RequestId request : create_requests_) Do(action::Reply{request, ended.why});
  for (RequestId request : ended.requests) Do(action::Reply{request, absl::OkStatus()});
}

void Protection::ReplyAll(std::vector<RequestId>& requests, const absl::Status& status) {
  for (RequestId request : requests) Do(action::Reply{request, status});
  requests.clear();
}

}  // namespace romulus::protection
