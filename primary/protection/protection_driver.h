#ifndef ROMULUS_PRIMARY_PROTECTION_PROTECTION_DRIVER_H_
#define ROMULUS_PRIMARY_PROTECTION_PROTECTION_DRIVER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/recent_spread.h"
#include "common/link/replication_link.h"
#include "common/link/traffic_messages.h"
#include "common/loop/scheduler.h"
#include "common/ownership/generation_store.h"
#include "common/stream/dirty_page_list.h"
#include "netbuf/egress_buffer.h"
#include "primary/checkpoint_source.h"
#include "primary/protection/egress_watch.h"
#include "primary/protection/epoch_trace.h"
#include "primary/protection/guest_lockstep.h"
#include "primary/protection/pause_spreads.h"
#include "primary/protection/pause_turns.h"
#include "primary/protection/protection.h"
#include "proto/replication/v1/replication.pb.h"

namespace romulus {

// Protects one guest: executes what protection::Protection decides, on the seams, and tells it what came of it.
// Decides nothing. The agent and the simulation use this same class.
//
// Everything runs on the scheduler's thread. Callbacks of requests and of the observer may come from within a call;
// the driver may be destroyed from a task posted by them, not by them. Destruction without Delete leaves the guest and
// its held output as they are, as a crash of the agent would (its links and sources just go).
class ProtectionDriver {
 public:
  struct Seams {
    Scheduler* scheduler = nullptr;    // Outlives the driver.
    GenerationStore* store = nullptr;  // Outlives the driver.
    std::function<std::unique_ptr<PrimaryLink>()> new_link;
    std::function<std::unique_ptr<CheckpointSource>()> new_source;
    std::unique_ptr<GuestControl> guest;
    // With Config::lockstep, and only then: its buffer is, or is behind, `egress`.
    std::unique_ptr<GuestLockstep> lockstep;
    std::unique_ptr<EgressBuffer> egress;
    EgressWatch::Options egress_watch;
    PauseTurns* pause_turns = nullptr;  // Of the host; outlives the driver. Null: its guest is paused when it is due.
  };

  class Observer {
   public:
    virtual ~Observer() = default;
    // Something in status() has changed; phase_changed: also its phase.
    virtual void OnChanged(bool phase_changed) = 0;
    // A checkpoint is committed and its output released.
    virtual void OnCheckpoint(const EpochTrace& trace) = 0;
    // The kernel has dropped `packets` of the guest's output since the last call, because `vif` was full. At most every
    // minute per protection, and late by as much.
    virtual void OnOutputDropped(const EgressBuffer::VifStatistics& vif, uint64_t packets) {}
  };

  // The request is done, or has failed: codes as in control/v1/protection_service.proto.
  using Done = std::function<void(absl::Status)>;

  // `protection`: the resource name, the key in the store. `open_session` is what a session is opened with; interval,
  // timeout, stream mode and policies come from `config`, its heartbeat_interval_ms, domain and host from the caller,
  // its codecs from the link. `record_detail` is kept in the store while the protection lives, and emptied when it has
  // ended: a record with detail is a protection to be recovered after a restart. It must not be empty.
  ProtectionDriver(std::string protection, const protection::Config& config,
                   const replication::v1::OpenSession& open_session, std::string record_detail, Seams seams,
                   Observer* observer);
  ~ProtectionDriver();

  // Once, first. `done` comes when the secondary has accepted and the first copy has begun, or with the error that left
  // everything as it was (phase kFailed). recovered: an agent that has come back goes on with a protection found in the
  // store; `done` comes at once and the rest shows in status().
  void Start(uint64_t generation, bool recovered, Done done);

  // OK: phase is kEnded, nothing is left behind, the driver can be destroyed.
  void Delete(uint64_t generation, bool unprotect_without_secondary, Done done);
  void Fence(uint64_t generation, Done done);

  struct Update {
    uint64_t generation = 0;  // 0: as it is.
    std::optional<protection::Pacing> pacing;
    std::optional<protection::LossPolicy> loss_policy;
    // Replaces the record's detail, so that a restarted agent goes on with what was updated.
    std::optional<std::string> record_detail;
  };
  // On record before it is in force. A higher generation is used from the next session on.
  void UpdateSettings(const Update& update, Done done);

  struct Status {
    protection::Protection::Snapshot core;
    uint64_t checkpoints_committed = 0;  // Over all sessions.
    absl::Duration last_commit_age;      // Zero while nothing is committed.
    // In nanoseconds, over the last 1024 checkpoints.
    RecentSpread::Spread pause_ns;
    PauseSpreads::Spreads pause_parts;
    RecentSpread::Spread output_delay_ns;
    RecentSpread::Spread commit_ns;
    RecentSpread::Spread dirty_pages;
    RecentSpread::Spread unchanged_pages;
    RecentSpread::Spread checkpoint_bytes;
    RecentSpread::Spread checkpoint_wire_bytes;
    uint64_t dirty_pages_last = 0;
    uint64_t sent_bytes = 0;  // In this session.
    LinkEncoding encoding;    // Of this session.
    uint64_t staged_bytes = 0;
    uint64_t captured_pages_bytes = 0;   // As CheckpointSource::Captured's.
    double checkpoints_per_second = 0;   // Over the last 1024 checkpoints of this session.
    uint64_t oversized_checkpoints = 0;  // Over all sessions: that did not fit into the staging bound.
    uint64_t seeding_pages_sent = 0;
    absl::Duration last_error_age;  // Since core.last_error has changed.
    // Lockstep: copies of frames, over all sessions.
    uint64_t standby_input_frames = 0;  // That have entered the guest, and were sent to the standby.
    uint64_t standby_input_dropped = 0;
    uint64_t standby_output_frames = 0;  // That the standby sent.
    uint64_t standby_pages_last = 0;     // In the last checkpoint for the standby's sake alone.
    RecentSpread::Spread lockstep_checkpoint_ns;  // From the request of a running standby's checkpoint to its running.
    comparison::OutputComparison::Statistics comparison;
    std::optional<lockstep::LockstepPolicy::Snapshot> lockstep_policy;  // With Config::lockstep.
    EgressBuffer::Statistics egress;
    std::vector<HoldTimeMeter::Spread> egress_times_held;  // By vif, as in egress.vifs.
  };
  // Asks the egress buffer for its counters.
  Status status();
  protection::Protection::Phase phase() const { return core_.phase(); }
  const protection::Protection& core() const { return core_; }

  // For tests that change what is done: called with each action before it is executed; false: leave it out.
  using ActionFilter = std::function<bool(const protection::action::Action&)>;
  void SetActionFilter(ActionFilter filter) { action_filter_ = std::move(filter); }

 private:
  class LinkSession;
  class SourceRun;
  class LockstepEvents;
  struct Executor;

  void Post(protection::event::Event event);
  void Drain();
  protection::RequestId NewRequest(Done done);
  void OnMessage(const replication::v1::SecondaryMessage& message);
  void OnCaptured(CheckpointSource::Captured captured);
  void OnLinkClosed(LinkSession* session, absl::Status status);
  void RequestCheckpoint(uint64_t epoch, bool with_standby_pages);
  void OnDirtyPageList(const replication::v1::DirtyPageList& list);
  void OnStandbyOutput(const replication::v1::StandbyOutput& output);
  void SendInput(std::vector<TrafficFrame> frames);
  void DropLater(std::shared_ptr<void> object);
  void ForgetSession();
  void CancelReaders();
  void NoteCommit(uint64_t epoch);
  void NoteRelease(uint64_t epoch);
  void NotePassThrough();
  // The start of the first epoch that is not released, of this session or of a lost one.
  std::optional<absl::Duration> OutputHeldSince() const;
  // Looks at the egress buffer now and then, as long as it holds output. Not while the guest is asked to suspend: then
  // pressure can't hasten anything any more, and the next mark looks anyway.
  void WatchEgress();
  void AfterEgressLook(absl::Duration begun);
  void PauseWatchingEgress();
  void ResumeWatchingEgress();
  void StopWatchingEgress();
  void TellDrops();
  absl::Duration Now() const { return seams_.scheduler->Now(); }

  const std::string protection_;
  replication::v1::OpenSession open_session_;
  std::string record_detail_;
  Seams seams_;
  Observer* const observer_;
  protection::Protection core_;
  ActionFilter action_filter_;

  std::deque<protection::event::Event> queue_;
  bool draining_ = false;
  std::map<protection::Timer, Scheduler::TimerId> timers_;
  std::map<protection::RequestId, Done> requests_;
  protection::RequestId next_request_ = 1;

  // The present session's, and those that are ending and whose last callback is still to come.
  std::shared_ptr<LinkSession> link_;
  std::shared_ptr<SourceRun> source_;
  std::vector<std::shared_ptr<LinkSession>> ending_links_;

  // To have the guest paused: from when its checkpoint is due until it is captured.
  std::unique_ptr<PauseTurns::Turn> turn_;
  absl::Duration usual_pause_;  // Smoothed; how long it waits for its turn.

  // A checkpoint that is to be sent or being sent: at most two.
  struct Uncommitted {
    std::shared_ptr<CheckpointReader> reader;
    CheckpointSource::Captured captured;
    absl::Duration captured_at;
  };
  std::map<uint64_t, Uncommitted> uncommitted_;  // By epoch.

  // Lockstep.
  std::unique_ptr<LockstepEvents> lockstep_events_;  // With seams_.lockstep.
  std::optional<absl::Duration> standby_asked_at_;   // For a checkpoint; until it runs again.
  std::optional<DirtyPageListReader> page_lists_;    // From SuspendStandby until all of them have come.
  PageRuns standby_pages_;                           // All of them, for AddStandbyPages.
  std::optional<uint64_t> input_epoch_;              // Of what enters the guest, if the standby is to get it.
  uint64_t standby_input_frames_ = 0;
  uint64_t standby_input_dropped_ = 0;
  uint64_t standby_output_frames_ = 0;
  uint64_t standby_pages_last_ = 0;

  EgressWatch egress_watch_;
  Scheduler::TimerId egress_timer_ = Scheduler::kNoTimer;
  absl::Duration egress_period_;  // Until the next look.
  bool egress_watch_paused_ = false;
  bool mark_set_ = false;  // By an action of the list that is being executed.
  std::optional<absl::Duration> drops_told_at_;

  // Measurements.
  std::deque<EpochTrace> unreleased_;  // Committed, but what their epochs have sent is still held.
  std::map<uint64_t, absl::Duration> epoch_started_;      // Of epochs of this session that are not released.
  std::optional<absl::Duration> lost_output_held_since_;  // Of lost sessions, if output has not passed since.
  struct Request {
    absl::Duration due;    // When the core wanted it,
    absl::Duration asked;  // and when the source was asked: when it was the guest's turn.
    bool in_lockstep = false;  // The standby ran along.
  };
  std::map<uint64_t, Request> requests_made_;  // For the checkpoints of unreleased epochs.
  uint64_t sent_bytes_committed_ = 0;          // The link's, as of the last commit of this session.
  uint64_t oversized_before_ = 0;              // In earlier sessions.
  uint64_t oversized_ = 0;                     // In this one.
  std::deque<absl::Duration> commits_;
  std::optional<absl::Duration> committed_state_at_;
  RecentSpread pause_, output_delay_, commit_, dirty_pages_, unchanged_pages_, bytes_, wire_bytes_,
      lockstep_checkpoint_;
  PauseSpreads pause_parts_;
  uint64_t dirty_pages_last_ = 0;
  uint64_t captured_pages_bytes_ = 0;
  uint64_t checkpoints_committed_ = 0;
  uint64_t seeding_pages_sent_ = 0;
  absl::Status last_error_;
  absl::Duration last_error_at_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_PROTECTION_PROTECTION_DRIVER_H_
