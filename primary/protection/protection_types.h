#ifndef ROMULUS_PRIMARY_PROTECTION_PROTECTION_TYPES_H_
#define ROMULUS_PRIMARY_PROTECTION_PROTECTION_TYPES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "primary/comparison/comparison_types.h"
#include "primary/lockstep/lockstep_policy.h"
#include "primary/protection/pacer.h"

// What the primary's decision core (protection.h) is told and what it asks for: plain values.
namespace romulus::protection {

// As in control/v1/protection_service.proto, without "unspecified".
enum class LossPolicy { kRunUnprotected, kHoldOutput, kPauseGuest };
enum class FailoverPolicy { kByRequest, kOnLinkLoss };

using lockstep::AfterCheckpoint;

struct Config {
  Pacing pacing;
  absl::Duration link_timeout = absl::Seconds(3);
  LossPolicy loss_policy = LossPolicy::kRunUnprotected;
  FailoverPolicy failover_policy = FailoverPolicy::kByRequest;
  // Sessions are opened in stream mode COLO: the standby runs along as long as that pays. No value: it always waits.
  std::optional<lockstep::LockstepSettings> lockstep;
};

// Names a control request until it is answered by the action Reply.
using RequestId = uint64_t;

enum class Timer {
  kReconnect,  // Try the secondary again.
  kEpoch,      // Time to take the next checkpoint.
  kBoundary,   // A guest suspended for its next checkpoint has been copied, and the commit before has not come.
  kCommit,     // The secondary lives but does not commit.
  kStandby,    // Lockstep: the secondary lives, but its standby is neither suspended nor run.
  kStop,       // The secondary lives but does not answer StopSession.
  kEnforce,    // An operation on the guest or its output failed: try it again.
};

// ---- events ----

namespace event {

// First event, once. Answered by Reply when the first copy has begun, or with the error.
struct Start {
  RequestId request = 0;
  uint64_t generation = 0;
  // The generation store's record, if there is one.
  uint64_t stored_generation = 0;
  bool stored_ownership_moved = false;
  // The agent has died and come back: a session may have been open, a standby may exist, packets may be held. The
  // generation is then the stored one.
  bool recovered = false;
};
// The egress buffer is in the guest's way out; adopted: a predecessor had put it there.
struct EgressAttached {
  bool adopted = false;
};
struct SessionAccepted {};
// Of the present link, also after an opening that failed. Codes as in replication.proto.
struct LinkClosed {
  absl::Status status;
};
struct Commit {
  uint64_t epoch = 0;
  absl::Duration now;  // Of the scheduler's clock.
};
// All of a checkpoint with tell_when_sent was given to the network. Its commit may come first, or this twice.
struct CheckpointSent {
  uint64_t epoch = 0;
  absl::Duration now;  // Of the scheduler's clock.
};
struct SessionStopped {};
struct StandbyFailed {
  std::string reason;
};
struct FenceReceived {
  uint64_t next_generation = 0;
};
// A message that has no place in the protocol.
struct PeerMisbehaved {
  std::string what;
};
struct SeedingBegun {
  absl::Duration now;
};
struct Suspended {
  uint64_t epoch = 0;
  absl::Duration now;
};
struct Captured {
  uint64_t epoch = 0;
  absl::Duration now;
  // How long suspending and copying the guest took.
  absl::Duration suspend;
  absl::Duration copy;
};
struct SourceEnded {
  absl::Status status;
};
// The output of `epoch` has been released, and this is how it fared.
struct EpochMeasured {
  uint64_t epoch = 0;
  PacedEpoch measured;
  bool in_lockstep = false;  // Its output could leave by comparison, too.
};
// The guest's output that stands behind no mark fills a vif's buffer to the high-water mark. May come again and again.
struct OutputPressure {
  absl::Duration now;
};
// Lockstep: from the secondary. The standby runs along from checkpoint `epoch`.
struct StandbyRunning {
  uint64_t epoch = 0;
  absl::Duration now;
};
// Instead: it waits.
struct LockstepRefused {
  uint64_t epoch = 0;
  std::string reason;
  absl::Duration now;
};
// All of DirtyPageList(epoch), which was asked for, has come, and is well formed.
struct StandbyPagesListed {
  uint64_t epoch = 0;
};
// The comparison has found that the guests' output differs, or can't tell that it does not: none of what is held leaves
// before the next commit.
struct Difference {
  comparison::Difference what;
  absl::Duration now;
};
struct TimerFired {
  Timer timer;
  absl::Duration now;
};
struct DeleteRequested {
  RequestId request = 0;
  uint64_t generation = 0;
  bool unprotect_without_secondary = false;
};
struct FenceRequested {
  RequestId request = 0;
  uint64_t generation = 0;
};
struct UpdateRequested {
  RequestId request = 0;
  uint64_t generation = 0;  // 0: as it is.
  std::optional<Pacing> pacing;
  std::optional<LossPolicy> loss_policy;
};

}  // namespace event

// ---- actions ----

// Those that can fail.
enum class Effect { kAttach, kOpenEpoch, kRelease, kPassThrough, kDiscard, kDetach, kPause, kUnpause, kWriteRecord };

// What a Continue confirms.
enum class Milestone { kFence, kUpdate };

namespace event {

// `effect` failed. The actions after it in the same list have not been executed.
struct EffectFailed {
  Effect effect;
  absl::Status status;
};
struct Continued {
  Milestone milestone;
};

using Event =
    std::variant<Start, EgressAttached, SessionAccepted, LinkClosed, CheckpointSent, Commit, SessionStopped,
                 StandbyFailed, FenceReceived, PeerMisbehaved, SeedingBegun, Suspended, Captured, SourceEnded,
                 EpochMeasured, OutputPressure, StandbyRunning, LockstepRefused, StandbyPagesListed, Difference,
                 TimerFired, DeleteRequested, FenceRequested, UpdateRequested, EffectFailed, Continued>;

}  // namespace event

namespace action {

struct AttachEgress {};  // Answered by EgressAttached.
// Marks where the output of `ended_epoch` ends. One mark at a time: the next only after ReleaseEpoch.
struct OpenEpoch {
  uint64_t ended_epoch = 0;
};
// Releases everything before the mark, which is the end of `epoch`.
struct ReleaseEpoch {
  uint64_t epoch = 0;
};
// Checkpoint `epoch` is committed: its bytes are not needed any more.
struct NoteCommit {
  uint64_t epoch = 0;
};
struct PassThrough {};
struct DiscardHeld {};
struct DetachEgress {};
struct PauseGuest {};
struct UnpauseGuest {};
struct WriteRecord {
  uint64_t generation = 0;
  bool ownership_moved = false;
  // The protection is over: only the generation is kept.
  bool ended = false;
};
struct OpenLink {
  uint64_t generation = 0;
};
struct CloseLink {};
struct SendStopSession {
  std::string reason;
};
struct SendFenced {
  uint64_t next_generation = 0;
};
// The bytes are those of the source's Captured (epoch 1: of its seeding).
struct SendCheckpoint {
  uint64_t epoch = 0;
  bool tell_when_sent = false;  // With CheckpointSent.
  AfterCheckpoint after = AfterCheckpoint::kWaits;
};
// The checkpoint being sent, and one waiting behind it, shall never become whole: cancels their readers.
struct CancelTransfer {};
struct StartSource {};
struct RequestCheckpoint {
  uint64_t epoch = 0;
  // The standby runs along: SuspendStandby goes at the same moment, and StandbyPagesListed will come.
  bool with_standby_pages = false;
};
// The pages of StandbyPagesListed(epoch) go to the source.
struct AddStandbyPages {
  uint64_t epoch = 0;
};
// Lockstep: what enters the guest from here on, it gets after checkpoint `epoch`. kRuns: the standby is to get it, too.
struct FollowEpoch {
  uint64_t epoch = 0;
  AfterCheckpoint after = AfterCheckpoint::kWaits;
};
// Lockstep: output is released by comparison with what the standby sends that runs from checkpoint `epoch`...
struct Compare {
  uint64_t epoch = 0;
};
// ...until the next Compare, or this.
struct StopComparing {};
struct PermitResume {
  uint64_t epoch = 0;
};
struct StopSource {};
struct ArmTimer {  // Anew, if it is armed.
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

using Action =
    std::variant<AttachEgress, OpenEpoch, ReleaseEpoch, NoteCommit, PassThrough, DiscardHeld, DetachEgress, PauseGuest,
                 UnpauseGuest, WriteRecord, OpenLink, CloseLink, SendStopSession, SendFenced, SendCheckpoint,
                 CancelTransfer, StartSource, RequestCheckpoint, AddStandbyPages, FollowEpoch, Compare, StopComparing,
                 PermitResume, StopSource, ArmTimer, CancelTimer, Reply, Continue>;

}  // namespace action

}  // namespace romulus::protection

#endif  // ROMULUS_PRIMARY_PROTECTION_PROTECTION_TYPES_H_
