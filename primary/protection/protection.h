#ifndef ROMULUS_PRIMARY_PROTECTION_PROTECTION_H_
#define ROMULUS_PRIMARY_PROTECTION_PROTECTION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "primary/protection/protection_types.h"

namespace romulus::protection {

// Everything that can be decided wrongly on the primary, for one protected guest. Pure: the same events give the same
// actions; no clock, no I/O, no thread. ProtectionDriver executes the actions.
//
// How actions are executed: in order, at once. If one fails, the rest of its list is dropped and EffectFailed is the
// next event; EffectFailed, EgressAttached and Continued come before any other event. So a list is a chain: what
// depends on something stands behind it, and what must happen in any case stands in front of what can fail.
//
// State x event; "-": stale or late, ignored; "!": a broken promise of the driver or a seam, ends the process.
//
//                Attaching  Connecting  Seeding    Running/Capturing/Replicating  StoppingSession  Unwinding/BackingOff
//  EgressAttached connect    !           !          !                              !                !
//  SessionAccepted  !        seed        misbehaved misbehaved                     -                -
//  LinkClosed       !        refused/lost lost      lost                           lost             -
//  Commit           !        misbehaved  misbehaved Replicating(n): release;       -                -
//                                                   else misbehaved
//  SessionStopped   !        misbehaved  void       void                           void             -
//  StandbyFailed    !        misbehaved  void       void                           void             -
//  FenceReceived    !        misbehaved  fence      fence                          -                -
//  Suspended        !        !           open epoch Capturing(n): open epoch       permit resume    permit resume
//  Captured         !        !           !          Capturing(n): send             -                -
//                   (while Replicating(n-1), Suspended and Captured as below)
//  SourceEnded      !        !           local failure (with session)              remember         go on
//  OutputPressure   -        -           -          next checkpoint without delay  -                -
//  StandbyRunning   !        misbehaved  misbehaved Starts: Runs, else misbehaved  -                -
//  LockstepRefused  !        misbehaved  misbehaved Starts: Waits, else misbehaved -                -
//  StandbyPagesListed !      !           !          Suspends: to the source        -                -
//  Difference       -        -           -          Runs: next checkpoint at once  -                -
//  EpochMeasured    in every state: the pacer takes note
//  Delete           end      end/try     stop session                              join             end/try
//  Fenced: everything that comes from link or source is ignored, but a suspended guest's resume is permitted (it stays
//  paused) and a repeated Fence is answered. Ended: everything from outside is ignored; requests are answered.
//
// The next checkpoint is taken while the one before is still on its way, so that, as far as can be foreseen, the commit
// comes while the guest is suspended and copied anyway. What the guest sends once it runs again must stand behind a
// mark in the egress buffer, which has room for one mark (OpenEpoch). So a guest suspended for checkpoint n+1 while n
// is uncommitted waits for its mark until n is committed, but not for longer than it takes to copy it: the guest is
// never paused for the network. If the commit has not come by then, epoch n+1 ends without a mark: the next mark, the
// end of epoch n+2 or a later one, stands for it, too, and so does that one's commit.
//
// The interval is the pacer's (pacer.h), in force from the next time that a checkpoint is scheduled. It counts from the
// start of the epoch, that is from the suspend for the checkpoint before, however long that one takes to be captured
// and committed. Like output pressure, it moves RequestCheckpoint and nothing else.
//
// Output pressure only takes away the wait for the interval: the next checkpoint is asked for at once where the guest
// just runs, and so that its commit meets the next copy, as above, where one is on its way. Earlier than that it would
// find the mark still in its place, end without one, and hold its output for another checkpoint. Where no checkpoint
// can be asked for (also while one is on its way of whose sending there is no news: MayOverlap; its commit is near),
// pressure is remembered until a mark is set: then all output so far stands before it. It moves RequestCheckpoint and
// nothing else: marks are set and released as ever.
//
// Lockstep (Config::lockstep): each checkpoint says whether the standby runs along from it; LockstepPolicy chooses,
// when the guest is suspended for it (of checkpoint 1: when its sending begins). What the standby does, beside the
// states:
//
//   Waits      as in Remus mode: checkpoints at the interval, overlapping as above.
//   Starts(n)  checkpoint n is on its way with kRuns, or committed, and it is not known yet whether the standby runs.
//              The guest executes epoch n + 1 and is left alone: no checkpoint is asked for, none overlaps.
//   Runs(n)    StandbyRunning(n) has come, output leaves by comparison. It is not the interval that asks for checkpoint
//              n + 1, but a difference, output pressure, or that this has gone on for as long as the policy lets it.
//   Suspends(n+1)  from that request on: SuspendStandby goes with it. The standby's pages must be listed before the
//              checkpoint can be whole; what comes of it is Starts(n + 1) or Waits.
//
// A checkpoint whose epoch ends without a mark is always one to wait from: what is held of two epochs can't be compared
// with what the standby sends in one. The secondary has to say in time that the standby is suspended or runs
// (Timer::kStandby); if not, the session is stopped, as where it does not commit.
//
// Why output may leave, in each case where a packet leaves that no commit covers:
//  - Seeding until the first OpenEpoch: by SessionAccepted the secondary has destroyed every older standby, and
//    without checkpoint 1's trailer, which comes after that OpenEpoch, no new one can become whole.
//  - After SessionStopped or StandbyFailed: the secondary has said that its standby never will run.
//  - Policy RUN_UNPROTECTED: whoever activates has fenced this host before.
//  - Delete with unprotect_without_secondary: the caller has said so.
//  - Between Compare and StopComparing, what the comparison says that both guests have sent: Compare(n) follows
//    StandbyRunning(n) while n is the last committed checkpoint. What the standby has sent since is in the state of the
//    standby alone; and nothing else takes over from then on, but for checkpoint n + 1 as a whole, whose state the
//    primary's guest reached after it had sent the packet, too. Frames of the epoch before are told by their number.
//    StopComparing comes before anything that could let another than this standby take over, or its guest run on
//    without this one: the end of the session for whatever reason, and Fenced.
// In every other case it stays held, whatever else fails.
class Protection {
 public:
  explicit Protection(const Config& config) : config_(config), pacer_(config.pacing) {
    if (config.lockstep.has_value()) lockstep_policy_.emplace(*config.lockstep);
  }

  std::vector<action::Action> Step(const event::Event& event);

  // ---- states ----

  // Why a session is being ended, and so what follows.
  enum class Aftermath { kRetry, kFail, kDelete };

  struct Idle {};  // Before Start.
  struct Attaching {};
  struct Connecting {};
  struct Seeding {};  // The guest executes epoch 1; its output flows.
  struct Capturing {  // Checkpoint `epoch` was asked for (1: was suspended).
    uint64_t epoch = 0;
    absl::Duration next_epoch_start;  // Set once suspended: the start of epoch + 1.
    bool suspended = false;
  };
  // Of the checkpoint that is taken while the one before is on its way.
  enum class Next {
    kNone,       // The guest executes epoch + 1.
    kRequested,  // ...and is asked to suspend.
    kSuspended,  // It waits for its mark.
    kResumed,    // It executes epoch + 2, or is about to.
    kCaptured,   // Checkpoint epoch + 1 is captured, and waits for its turn to be sent.
  };
  struct Replicating {  // Checkpoint `epoch` is captured and on its way.
    uint64_t epoch = 0;
    absl::Duration next_epoch_start;
    absl::Duration captured_at;
    Next next = Next::kNone;
    absl::Duration after_next_start;  // Of epoch + 2, from kSuspended on.
    bool next_is_early = false;       // By output pressure: before the interval is over.
    bool sent = false;                // All of it was given to the network.
    bool next_is_due = false;         // It waits for that.
  };
  struct Running {  // The guest executes `epoch`; epoch - 1 is committed and released.
    uint64_t epoch = 0;
    absl::Duration epoch_start;
  };
  struct StoppingSession {  // StopSession is sent; nothing is sent any more.
    Aftermath aftermath = Aftermath::kRetry;
    absl::Status why;
    std::vector<RequestId> requests;
    bool unprotect_without_secondary = false;
  };
  struct Unwinding {  // No session; the source has been told to stop and has not ended yet.
    Aftermath aftermath = Aftermath::kRetry;
    absl::Status why;
    std::vector<RequestId> requests;
  };
  struct BackingOff {};  // No session; timer kReconnect runs.
  struct Fenced {
    uint64_t generation = 0;
    bool confirmed = false;  // Paused, and on record.
    std::vector<RequestId> delete_requests;
  };
  struct Ended {
    absl::Status why;  // OK: deleted.
    bool release = true;
    std::vector<RequestId> requests;
    bool retrying = false;  // Letting the guest run again has failed, timer kEnforce runs.
    int unpause_failures = 0;
  };
  using State = std::variant<Idle, Attaching, Connecting, Seeding, Capturing, Replicating, Running, StoppingSession,
                             Unwinding, BackingOff, Fenced, Ended>;

  // Lockstep: what the standby's guest does, as far as is known here. See above.
  struct Waits {};
  struct Starts {
    uint64_t epoch = 0;
  };
  struct Runs {
    uint64_t epoch = 0;
  };
  struct Suspends {
    uint64_t epoch = 0;
    bool listed = false;  // Its pages are known.
  };
  using StandbyGuest = std::variant<Waits, Starts, Runs, Suspends>;

  // As control/v1's ProtectionPhase; kEnded: deleted, the driver can go.
  enum class Phase {
    kConnecting,
    kSeeding,
    kProtected,
    kUnprotected,
    kHolding,
    kDisengaging,
    kFenced,
    kFailed,
    kEnded
  };

  // For status; never for decisions.
  struct Snapshot {
    Phase phase = Phase::kConnecting;
    uint64_t generation = 0;
    uint64_t epoch = 0;            // That the guest executes; 0 outside a session.
    uint64_t committed_epoch = 0;  // Of the present session, or of the last one.
    uint64_t sessions = 0;
    uint64_t early_checkpoints = 0;  // Asked for before the interval was over, by output pressure. Over all sessions.
    Pacer::Snapshot pacing;
    bool lockstep = false;         // The standby runs along, and output leaves by comparison.
    uint64_t lockstep_runs = 0;    // How often it has begun to. Over all sessions.
    uint64_t differences = 0;      // That have brought a checkpoint forward. Over all sessions.
    std::string last_difference;   // The last one's, in words.
    std::string lockstep_refusal;  // Why the secondary could not, the last time that it could not.
    absl::Status last_error;  // Why it is not protected, or last was not.
    Config config;
  };
  Snapshot snapshot() const;
  // Of the policy; nothing without Config::lockstep. For status, as the snapshot.
  std::optional<lockstep::LockstepPolicy::Snapshot> lockstep_snapshot(absl::Duration now) const {
    if (!lockstep_policy_.has_value()) return std::nullopt;
    return lockstep_policy_->snapshot(now);
  }
  // Of the snapshot, at next to no cost.
  Phase phase() const { return position().phase; }
  const absl::Status& last_error() const { return last_error_; }
  const State& state() const { return state_; }
  // One word for logs and transcripts: "Replicating(7)".
  std::string state_name() const;

 private:
  struct Position {
    Phase phase = Phase::kConnecting;
    uint64_t epoch = 0;
  };
  enum class Output { kFlowing, kHeld };
  enum class Guest { kRunning, kPaused };
  enum class Source { kNone, kRunning, kStopping };
  enum class Link { kNone, kOpen };
  struct PendingFence {
    uint64_t generation = 0;
    bool by_peer = false;
    std::vector<RequestId> requests;
  };

  void On(const event::Start&);
  void On(const event::EgressAttached&);
  void On(const event::SessionAccepted&);
  void On(const event::LinkClosed&);
  void On(const event::Commit&);
  void On(const event::CheckpointSent&);
  void On(const event::SessionStopped&);
  void On(const event::StandbyFailed&);
  void On(const event::FenceReceived&);
  void On(const event::PeerMisbehaved&);
  void On(const event::SeedingBegun&);
  void On(const event::Suspended&);
  void On(const event::Captured&);
  void On(const event::SourceEnded&);
  void On(const event::EpochMeasured&);
  void On(const event::OutputPressure&);
  void On(const event::StandbyRunning&);
  void On(const event::LockstepRefused&);
  void On(const event::StandbyPagesListed&);
  void On(const event::Difference&);
  void On(const event::TimerFired&);
  void On(const event::DeleteRequested&);
  void On(const event::FenceRequested&);
  void On(const event::UpdateRequested&);
  void On(const event::EffectFailed&);
  void On(const event::Continued&);

  template <typename S>
  S* in() {
    return std::get_if<S>(&state_);
  }
  void Do(action::Action action) { actions_.push_back(std::move(action)); }

  Position position() const;
  bool in_session() const;  // Accepted, and not being stopped.
  void Connect();
  void StopSource();
  void CloseLink();
  // The session is over for a reason on this side, while the link lives: have the standby destroyed first.
  void StopSession(Aftermath aftermath, absl::Status why, std::vector<RequestId> requests = {});
  // The secondary has said that its standby is void.
  void SessionVoid(absl::Status why);
  // The secondary is gone without a word, or has refused.
  void SecondaryLost(absl::Status why);
  void Misbehaved(const std::string& what);
  // From here without a session: wait for the source, then the aftermath.
  void Unwind(Aftermath aftermath, absl::Status why, std::vector<RequestId> requests);
  void AfterUnwinding();
  void Attach();
  void RefuseDeletes(std::vector<RequestId>& requests, const absl::Status& why);
  void BackOff();
  // Says what output and guest shall be, with no session; the operations follow in Enforce.
  void WantLossPolicy();
  void Enforce();
  void EnterFenced(uint64_t generation, bool confirmed);
  void RepeatFencing(int from_step);
  void BeginFence(PendingFence fence);
  void End(absl::Status why, bool release, std::vector<RequestId> requests);
  void EndSteps(int from_step);
  void RequestNext(uint64_t epoch, absl::Duration epoch_start, absl::Duration now);
  // Asks for checkpoint `epoch`, now.
  void Request(uint64_t epoch);
  // Marks the end of `epoch`, for whose checkpoint the guest is suspended, and lets the guest go on behind the mark.
  void EndEpoch(uint64_t epoch, absl::Duration now);
  template <typename S>
  S* standby() {
    return std::get_if<S>(&standby_guest_);
  }
  // Whether a message about the standby's guest has its place here; if it comes too late, it has none and does no harm.
  bool StartsFrom(uint64_t epoch, const char* message);
  // Running and Runs: the next checkpoint is due.
  void EndRun(absl::Duration now, lockstep::RunEnd end,
              std::optional<comparison::DifferenceReason> reason = std::nullopt);
  // The standby runs again after the checkpoint that ended a run, or waits with it committed.
  void NoteRunsCheckpoint(absl::Duration now);
  // The session ends: from here no output leaves by comparison.
  void EndLockstep();
  // Replicating: asks for the next checkpoint while this one is on its way.
  void RequestWhileReplicating();
  void SuspendedWhileReplicating(const event::Suspended& e);
  // Whether the next checkpoint might be asked for while one that is sent now is on its way, or it is not known yet:
  // not where a commit comes sooner after the capture than a pause takes, however long the sending is of it. Then
  // nobody waits for the news of its sending, which would cost each checkpoint a turn of the loop.
  bool MayOverlap() const;
  // Replicating: sets the time at which the next checkpoint is asked for.
  void ScheduleNext(absl::Duration now);
  // Checkpoint `epoch` is captured and nothing is before it: it is on its way.
  void Replicate(uint64_t epoch, absl::Duration next_epoch_start, absl::Duration captured_at);
  void ApplyUpdate(const event::UpdateRequested& update);
  void ReplyAll(std::vector<RequestId>& requests, const absl::Status& status);
  void NoteError(const absl::Status& status) { last_error_ = status; }

  Config config_;
  State state_;
  std::vector<action::Action> actions_;

  uint64_t generation_ = 0;
  uint64_t deletion_generation_ = 0;  // The highest of the requests to delete.
  // What is outside, as far as known; the wanted values are enforced until they hold.
  Output output_ = Output::kFlowing;
  Output output_wanted_ = Output::kFlowing;
  Guest guest_ = Guest::kRunning;
  Guest guest_wanted_ = Guest::kRunning;
  Source source_ = Source::kNone;
  Link link_ = Link::kNone;
  // Something on the secondary could be activated: from the first OpenEpoch of a session until the secondary has said
  // that it can't.
  bool standby_may_exist_ = false;
  bool attached_ = false;
  // Something of ours may be in the guest's way out, attached or not (Detach is due after a failed Attach, too).
  bool detach_due_ = false;
  bool domain_gone_ = false;
  bool moved_ = false;     // The other host owns the guest.
  bool recorded_ = false;  // The store has a record that End must end.
  std::vector<RequestId> create_requests_;
  // Deletions that wait for the attempt to reach the secondary.
  std::vector<RequestId> pending_deletes_;
  std::optional<PendingFence> pending_fence_;
  std::optional<event::UpdateRequested> pending_update_;
  int failed_attempts_ = 0;
  uint64_t committed_epoch_ = 0;
  // The epoch whose end is marked in the egress buffer and not yet released.
  std::optional<uint64_t> marked_epoch_;
  // There is output pressure, and no mark has been set since.
  bool pressure_ = false;
  uint64_t early_checkpoints_ = 0;
  Pacer pacer_;
  // Of this session, smoothed; zero as long as nothing is known.
  absl::Duration usual_send_;     // From captured to sent.
  absl::Duration usual_commit_;   // From captured to committed.
  absl::Duration usual_suspend_;  // From requested to suspended.
  absl::Duration usual_copy_;     // From suspended to copied.
  uint64_t sessions_ = 0;
  // Lockstep.
  std::optional<lockstep::LockstepPolicy> lockstep_policy_;
  StandbyGuest standby_guest_;
  // What the policy has chosen for the checkpoint for which the guest was suspended last.
  AfterCheckpoint after_ = AfterCheckpoint::kWaits;
  bool comparing_ = false;
  bool run_ended_ = false;    // By a checkpoint that is under way.
  absl::Duration last_time_;  // That an event brought.
  uint64_t lockstep_runs_ = 0;
  uint64_t differences_ = 0;
  std::string last_difference_;
  std::string lockstep_refusal_;
  absl::Status last_error_;
};

}  // namespace romulus::protection

#endif  // ROMULUS_PRIMARY_PROTECTION_PROTECTION_H_
