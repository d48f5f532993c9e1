#ifndef ROMULUS_SECONDARY_STANDBY_STANDBY_TYPES_H_
#define ROMULUS_SECONDARY_STANDBY_STANDBY_TYPES_H_

#include <cstdint>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/time/time.h"

// What the secondary's decision core (standby.h) is told and what it asks for: plain values.
namespace romulus::standby {

enum class FailoverPolicy { kByRequest, kOnLinkLoss };

using RequestId = uint64_t;
// Names an offered or accepted link.
using SessionId = uint64_t;

enum class Timer {
  kFence,          // The primary does not answer Fence.
  kRetryActivate,  // ON_LINK_LOSS: taking the generation on record failed; again.
};

// What the standby's guest does once a checkpoint is applied: CheckpointTrailer.after. kUnknown: a value that this side
// does not know.
enum class After { kWait, kRun, kUnknown };

// What a primary opens a session with.
struct Offer {
  SessionId session = 0;
  uint64_t generation = 0;
  FailoverPolicy failover_policy = FailoverPolicy::kByRequest;
  absl::Duration heartbeat_interval = absl::Seconds(1);
  absl::Duration link_timeout = absl::Seconds(3);
  // Its stream mode is COLO: the standby may be asked to run along.
  bool lockstep = false;
  // Whether the two hosts fit, as the agent has found: an error refuses the session and touches nothing.
  absl::Status compatibility;
};

namespace event {

// First event, once: the generation store's record.
struct Start {
  uint64_t stored_generation = 0;
  bool ownership_moved = false;
  // With ownership_moved: the activated standby has been deleted (forgotten) since.
  bool forgotten = false;
};
struct SessionOffered {
  Offer offer;
};
// LinkClosed of an offered session that is not (yet) the present one, or of the present one.
struct LinkClosed {
  SessionId session = 0;
  absl::Status status;
};
// Of the target.
struct Prepared {
  absl::Status status;
};
struct Applied {
  uint64_t epoch = 0;
};
struct Broken {
  absl::Status status;
};
struct Activated {
  absl::Status status;
};
struct Discarded {};
// Of the present link: a checkpoint is whole and verified; the driver holds it until Apply or DropArrived.
struct Seeded {
  After after = After::kWait;
};
struct CheckpointArrived {
  uint64_t epoch = 0;
  After after = After::kWait;
};
struct SuspendStandby {
  uint64_t epoch = 0;
};
// Of the target: the guest runs along from checkpoint `epoch`...
struct Running {
  uint64_t epoch = 0;
};
// ...or waits with it applied...
struct LockstepRefused {
  uint64_t epoch = 0;
  absl::Status why;
};
// ...or is suspended for checkpoint `epoch`; the driver holds the list of pages until SendDirtyPages.
struct Suspended {
  uint64_t epoch = 0;
};
struct StopSession {
  uint64_t generation = 0;
};
struct Fenced {
  uint64_t generation = 0;
  uint64_t next_generation = 0;
};
struct PeerMisbehaved {
  std::string what;
};
struct TimerFired {
  Timer timer;
};
struct ActivateRequested {
  RequestId request = 0;
  uint64_t generation = 0;
  bool primary_fenced = false;
};
struct DeleteRequested {
  RequestId request = 0;
  uint64_t generation = 0;
};
// The agent ends: nothing here may be activated any more, an activated guest runs on.
struct ShutdownRequested {
  RequestId request = 0;
};

}  // namespace event

enum class Milestone { kAccept, kActivate, kForget };

namespace event {

// WriteRecord, the only effect that can fail at once. The actions after it in the same list have not been executed.
struct WriteFailed {
  absl::Status status;
};
struct Continued {
  Milestone milestone;
};

using Event = std::variant<Start, SessionOffered, LinkClosed, Prepared, Applied, Broken, Activated, Discarded, Seeded,
                           CheckpointArrived, SuspendStandby, Running, LockstepRefused, Suspended, StopSession, Fenced,
                           PeerMisbehaved, TimerFired, ActivateRequested, DeleteRequested, ShutdownRequested,
                           WriteFailed, Continued>;

}  // namespace event

namespace action {

struct WriteRecord {
  uint64_t generation = 0;
  bool ownership_moved = false;
  bool forgotten = false;
};
// The offered link becomes the present one.
struct TakeLink {
  SessionId session = 0;
};
struct RefuseLink {
  SessionId session = 0;
  absl::Status status;
};
struct CloseLink {  // The present one.
  absl::Status status;
};
struct SendAccepted {};  // After the seed sink is set.
struct SendCommit {
  uint64_t epoch = 0;
};
struct SendFence {
  uint64_t next_generation = 0;
};
struct SendStandbyFailed {
  std::string reason;
};
struct SendSessionStopped {};
struct PrepareTarget {};
// Hands the arrived checkpoint to the target (1: FinishSeeding).
struct Apply {
  uint64_t epoch = 0;
  bool run = false;
};
// The guest that runs along is suspended for checkpoint `epoch`.
struct SuspendTarget {
  uint64_t epoch = 0;
};
// Without its primary it does not run on, until ActivateTarget.
struct FreezeTarget {};
struct SendDirtyPages {
  uint64_t epoch = 0;
};
// Before anything that the guest has sent since.
struct SendStandbyRunning {
  uint64_t epoch = 0;
};
struct SendLockstepRefused {
  uint64_t epoch = 0;
  std::string reason;
};
struct DropArrived {};
struct ActivateTarget {};
struct DiscardTarget {};
// The target's domain runs on without us.
struct ReleaseTarget {};
struct ArmTimer {
  Timer timer;
  absl::Duration delay;
};
struct CancelTimer {
  Timer timer;
};
struct Reply {
  RequestId request = 0;
  absl::Status status;
};
// Answered by the event Continued, if everything before it in the list has succeeded.
struct Continue {
  Milestone milestone;
};

using Action = std::variant<WriteRecord, TakeLink, RefuseLink, CloseLink, SendAccepted, SendCommit, SendFence,
                            SendStandbyFailed, SendSessionStopped, PrepareTarget, Apply, SuspendTarget, FreezeTarget,
                            SendDirtyPages, SendStandbyRunning, SendLockstepRefused, DropArrived, ActivateTarget,
                            DiscardTarget, ReleaseTarget, ArmTimer, CancelTimer, Reply, Continue>;

}  // namespace action

}  // namespace romulus::standby

#endif  // ROMULUS_SECONDARY_STANDBY_STANDBY_TYPES_H_
