#ifndef ROMULUS_SECONDARY_STANDBY_STANDBY_H_
#define ROMULUS_SECONDARY_STANDBY_STANDBY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "secondary/standby/standby_types.h"

namespace romulus::standby {

// Everything that can be decided wrongly on the secondary, for one protection. Pure, as protection::Protection; actions
// are executed the same way (WriteRecord is the only one that can fail at once).
//
// State x event; "-": stale or late, ignored; "!": a broken promise of the driver or a seam, ends the process.
//
//                    Idle/Failed  Preparing  Seeding    Standby        AwaitingFence  Activating  Active   Discarding
//  SessionOffered    accept       replace    replace    replace        refuse (busy)  ABORTED     ABORTED  queue
//  LinkClosed        -            discard    discard    ON_LINK_LOSS:  activate if    -           -        drop offer
//                                                       activate       fenced, else
//                                                                      back
//  Prepared          !            accepted   !          !              !              !           !        -
//  Seeded            -            protocol   commit 1   protocol       protocol       -           -        -
//  CheckpointArrived -            protocol   protocol   apply, commit  apply, commit  -           -        -
//  SuspendStandby    -            protocol   protocol   runs: suspend, runs: suspend, -           -        -
//                                                       else protocol  else protocol
//  Applied           -            -          -          window         window         -           -        -
//  Running, Refused, -            -          -          tell the       tell the       -           -        -
//  Suspended                                            primary        primary
//  Broken            !            discard    discard    discard, tell  discard, tell  (Activated  -        -
//                                                       the primary                   says it)
//  StopSession       -            discard    discard    discard        discard        -           -        -
//  Fenced            -            protocol   protocol   remember       activate       -           -        -
//  Activate          refuse       refuse     refuse     fence/activate join           join        same: OK refuse
//  Delete            forget       refuse     refuse     link dead:     refuse         refuse      forget   join
//                                                       discard
// A session of a generation that is too low is refused with ABORTED in every state.
//
// Lockstep (Offer::lockstep). What the standby's guest does, in Standby and AwaitingFence:
//
//   waits       checkpoint `committed` is what an activation resumes, exactly
//   starts      checkpoint `committed` was handed over to be run from, and is not known to run (or be refused) yet
//   runs        it runs along: its own state is what an activation goes on from, as in all that follow
//   suspending  SuspendStandby(committed + 1) came
//   suspended   ...and its list of pages has been sent: the next is checkpoint committed + 1
//   frozen      the session has ended while it was none that waits: only an activation or the end can follow
//
//               waits            starts           runs             suspending       suspended        frozen
//  SuspendStandby  protocol      protocol         suspending       protocol         protocol         -
//  Checkpoint   apply            protocol         protocol         protocol         apply            -
//  Running      !                runs, tell       !                !                !                -
//  Refused      !                waits, tell      !                !                !                -
//  Suspended    !                !                !                suspended, list  !                -
//  link gone    stays            frozen           frozen           frozen           frozen           -
//  Activate, StopSession, Delete and everything else: as of a standby that waits
//
// The target keeps the other half of the promise: of a guest that has run along since the last checkpoint that was
// handed over, it activates that guest's own state. Since output may have left by comparison with that guest, a
// checkpoint that it has run away from is never applied again. A checkpoint that has not been handed over is not
// committed, and has no part in an activation, however much of it has come.
class Standby {
 public:
  Standby();

  std::vector<action::Action> Step(const event::Event& event);

  // ---- states ----

  // What follows when the target is gone.
  struct ToIdle {};
  struct ToFailed {};
  struct ToOffer {
    Offer offer;
  };
  using AfterDiscard = std::variant<ToIdle, ToFailed, ToOffer>;

  struct Idle {
    bool started = false;
  };
  struct Preparing {};
  struct Seeding {};
  // Lockstep: what the guest does; above.
  enum class Guest { kWaits, kStarts, kRuns, kSuspending, kSuspended, kFrozen };
  // Standby(n): checkpoint `committed`, or what its guest has become since, is what an activation resumes.
  struct Ready {
    uint64_t committed = 0;
    uint64_t applied = 0;
    Guest guest = Guest::kWaits;
    // A verified checkpoint waits, unacknowledged, for room in the target's queue.
    bool deferred = false;
    bool deferred_runs = false;  // It is to be run from.
    // The primary has said Fenced after nobody waited for it any more: it never runs the guest again.
    std::optional<uint64_t> fenced_by_primary;
  };
  struct AwaitingFence {
    Ready ready;
    std::vector<RequestId> requests;
    uint64_t generation = 0;
    bool primary_fenced = false;  // The caller's word.
  };
  struct Activating {
    uint64_t committed = 0;
    std::vector<RequestId> requests;
  };
  struct Active {
    uint64_t committed = 0;  // 0: activated before the agent was restarted.
    absl::Status failure;    // Not OK: the activation has failed after ownership moved; see ActivationFailed below.
  };
  struct Discarding {
    AfterDiscard next;
    bool say_stopped = false;
    std::vector<RequestId> requests;
  };
  struct Failed {};
  using State = std::variant<Idle, Preparing, Seeding, Ready, AwaitingFence, Activating, Active, Discarding, Failed>;

  // kFailed also where an activation has failed after ownership moved here: then the domain is kept, paused or as far
  // as it came, because it may be the only copy left; DeleteStandby destroys it.
  enum class Phase { kNone, kSeeding, kReady, kActivating, kActive, kFailed };

  // For status; never for decisions.
  struct Snapshot {
    Phase phase = Phase::kNone;
    uint64_t generation = 0;
    bool ownership_moved = false;
    uint64_t committed_epoch = 0;
    uint64_t applied_epoch = 0;  // Of the committed ones; the rest waits in the target's queue.
    bool link_alive = false;
    bool runs_along = false;       // The guest runs, beside its primary.
    std::string lockstep_refusal;  // Why it could not, the last time that it could not.
    absl::Status last_error;
  };
  Snapshot snapshot() const;
  const State& state() const { return state_; }
  std::string state_name() const;

  // At most this many checkpoints are committed and not yet read by the restore helper.
  static constexpr uint64_t kUnappliedCheckpointsMax = 2;

 private:
  struct PendingActivation {
    uint64_t generation = 0;
    std::vector<RequestId> requests;
  };

  void On(const event::Start&);
  void On(const event::SessionOffered&);
  void On(const event::LinkClosed&);
  void On(const event::Prepared&);
  void On(const event::Applied&);
  void On(const event::Broken&);
  void On(const event::Activated&);
  void On(const event::Discarded&);
  void On(const event::Seeded&);
  void On(const event::CheckpointArrived&);
  void On(const event::SuspendStandby&);
  void On(const event::Running&);
  void On(const event::LockstepRefused&);
  void On(const event::Suspended&);
  void On(const event::StopSession&);
  void On(const event::Fenced&);
  void On(const event::PeerMisbehaved&);
  void On(const event::TimerFired&);
  void On(const event::ActivateRequested&);
  void On(const event::DeleteRequested&);
  void On(const event::ShutdownRequested&);
  void On(const event::WriteFailed&);
  void On(const event::Continued&);

  template <typename S>
  S* in() {
    return std::get_if<S>(&state_);
  }
  void Do(action::Action action) { actions_.push_back(std::move(action)); }

  // OK, or why a session in this generation is not taken.
  absl::Status MayAccept(const Offer& offer) const;
  void Accept(const Offer& offer);
  void CloseLink(absl::Status status);
  void Discard(AfterDiscard next, bool say_stopped = false, std::vector<RequestId> requests = {});
  void ProtocolBroken(const std::string& what);
  void BeginActivation(uint64_t generation, std::vector<RequestId> requests);
  void AbandonFence(absl::Status why);
  void TakeDeferred(Ready& ready);
  // Whether `after` can be done in this session; if not, the protocol is broken.
  bool Allows(After after);
  // Hands checkpoint `epoch` over, and says so.
  void Take(Ready& ready, uint64_t epoch, bool runs);
  // The session is over and the standby is kept.
  void Freeze(Ready& ready);
  Ready* ready();
  bool has_target() const;
  void ReplyAll(const std::vector<RequestId>& requests, const absl::Status& status);

  State state_;
  std::vector<action::Action> actions_;

  uint64_t generation_ = 0;
  bool ownership_moved_ = false;
  bool forgotten_ = false;
  // The present session; no value: its link is gone.
  std::optional<SessionId> link_;
  Offer session_;  // What it was opened with.
  std::optional<Offer> pending_accept_;
  std::optional<PendingActivation> pending_activation_;
  std::vector<RequestId> pending_forget_;
  bool shutting_down_ = false;
  std::string lockstep_refusal_;
  absl::Status last_error_;
};

}  // namespace romulus::standby

#endif  // ROMULUS_SECONDARY_STANDBY_STANDBY_H_
