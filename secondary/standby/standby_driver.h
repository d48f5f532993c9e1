#ifndef ROMULUS_SECONDARY_STANDBY_STANDBY_DRIVER_H_
#define ROMULUS_SECONDARY_STANDBY_STANDBY_DRIVER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/link/replication_link.h"
#include "common/loop/scheduler.h"
#include "common/ownership/generation_store.h"
#include "common/stream/checkpoint_bytes.h"
#include "common/stream/page_runs.h"
#include "proto/replication/v1/replication.pb.h"
#include "secondary/checkpoint_target.h"
#include "secondary/standby/input_queue.h"
#include "secondary/standby/standby.h"
#include "secondary/standby/standby_gaps.h"
#include "secondary/standby_traffic.h"

namespace romulus {

// Keeps the standby of one protection: executes what standby::Standby decides, on the seams, and tells it what came of
// it. Decides nothing. The agent and the simulation use this same class.
//
// One per protection id, from its first session (or from a record found in the store) until finished(). Everything runs
// on the scheduler's thread. Callbacks may come from within a call; the driver may be destroyed from a task posted by
// them, not by them. Destruction without Shutdown is as a crash of the agent.
class StandbyDriver {
 public:
  struct Seams {
    Scheduler* scheduler = nullptr;    // Outlives the driver.
    GenerationStore* store = nullptr;  // Outlives the driver.
    std::function<std::unique_ptr<CheckpointTarget>()> new_target;
    // The frames of a prepared target's domain, for a session in lockstep. An error refuses the session: a guest whose
    // frames are not in hand must not run along. Null: sessions in COLO mode are not to be offered (their
    // `compatibility` says so).
    std::function<absl::StatusOr<std::unique_ptr<StandbyTraffic>>(const replication::v1::OpenSession& session,
                                                                  uint32_t domid)>
        new_traffic;
    // This host's, for SessionAccepted.
    replication::v1::HostCompatibility host;
    uint32_t chunk_bytes_max = 1 << 20;
  };

  class Observer {
   public:
    virtual ~Observer() = default;
    // Something in status() has changed; phase_changed: also its phase.
    virtual void OnChanged(bool phase_changed) = 0;
  };

  using Done = std::function<void(absl::Status)>;

  // Reads the record of `protection` (the resource name, "protections/<id>") from the store. If it can't be read,
  // every session and request is refused with DATA_LOSS: nothing may be assumed about who owns the guest.
  StandbyDriver(std::string protection, Seams seams, Observer* observer);
  ~StandbyDriver();

  // A primary has opened a session (SessionAcceptor::OnSession). `compatibility`: whether the hosts fit, as the agent
  // has found by comparing open.open_session with what this host is; an error refuses the session and touches nothing.
  // The session is accepted, or its link closed with the reason.
  void OfferSession(const replication::v1::PrimaryMessage& open, absl::Status compatibility,
                    std::unique_ptr<SecondaryLink> link);

  // Codes as in control/v1/standby_service.proto.
  void Activate(uint64_t generation, bool primary_fenced, Done done);
  void Delete(uint64_t generation, Done done);
  // Before the agent ends: tells the primary that the standby is void, destroys it; an active guest is left alone.
  // `done` is called when that is done; a running activation refuses with FAILED_PRECONDITION.
  void Shutdown(Done done);

  struct Status {
    standby::Standby::Snapshot core;
    // The last session's; empty while there was none (then from the record, if the standby is active).
    replication::v1::OpenSession session;
    uint32_t domid = 0;  // 0: no domain.
    absl::Duration last_commit_age;
    absl::Duration last_heard_age;  // Of the present link, else of the last one.
    uint64_t received_bytes = 0;
    uint64_t stored_bytes = 0;
    // Lockstep, over all sessions: copies of the primary's input for the guest, and what the guest has sent.
    uint64_t input_frames = 0;
    uint64_t input_frames_dropped = 0;
    uint64_t output_frames = 0;
    uint64_t output_frames_dropped = 0;
    uint64_t dirty_pages_last = 0;  // That the guest had written to when it was suspended last.
    StandbyGaps gaps;
    absl::Duration last_error_age;
    // From the last message heard to the decision to activate; zero if there was none.
    absl::Duration detect;
    CheckpointTarget::ActivationTimes activation;
  };
  Status status() const;
  // Nothing is here any more, and no link waits to be closed by its primary: the driver can be destroyed.
  bool finished() const { return phase() == standby::Standby::Phase::kNone && links_.empty(); }
  standby::Standby::Phase phase() const { return core_.snapshot().phase; }
  const standby::Standby& core() const { return core_; }

  // For tests that change what is done: called with each action before it is executed; false: leave it out.
  using ActionFilter = std::function<bool(const standby::action::Action&)>;
  void SetActionFilter(ActionFilter filter) { action_filter_ = std::move(filter); }

 private:
  class LinkSession;
  class TargetRun;
  class TrafficRun;
  struct Executor;

  void Post(standby::event::Event event);
  void Drain();
  standby::RequestId NewRequest(Done done);
  absl::Duration Now() const { return seams_.scheduler->Now(); }
  void DropLater(std::shared_ptr<void> object);
  void OnMessage(const replication::v1::PrimaryMessage& message);
  void OnInput(uint64_t epoch, standby::InputQueue::Entry entry);
  void GiveInput(standby::InputQueue::Entry entry);
  void OnOutput(std::vector<TrafficFrame> frames);
  void SendOutput(std::vector<TrafficFrame> frames);
  void StopTraffic();
  void OnLinkClosed(standby::SessionId id, absl::Status status);
  void NoteHeard();
  void DropTarget();

  const std::string protection_;
  Seams seams_;
  Observer* const observer_;
  standby::Standby core_;
  ActionFilter action_filter_;
  absl::Status record_error_;

  std::deque<standby::event::Event> queue_;
  bool draining_ = false;
  std::map<standby::Timer, Scheduler::TimerId> timers_;
  std::map<standby::RequestId, Done> requests_;
  standby::RequestId next_request_ = 1;

  // Every link until its OnClosed; `link_` names the present one.
  std::map<standby::SessionId, std::shared_ptr<LinkSession>> links_;
  standby::SessionId next_session_ = 1;
  std::shared_ptr<LinkSession> link_;
  replication::v1::OpenSession session_;
  std::shared_ptr<TargetRun> target_;
  std::shared_ptr<CheckpointSink> seed_sink_;
  uint32_t domid_ = 0;

  // Lockstep.
  std::shared_ptr<TrafficRun> traffic_;  // Of target_.
  standby::InputQueue input_;
  // What the guest sends is of this checkpoint: the last that was handed over to be run from, until it is suspended.
  std::optional<uint64_t> output_epoch_;
  bool output_flows_ = false;               // The primary knows that it runs.
  std::vector<TrafficFrame> early_output_;  // Before that.
  size_t early_output_bytes_ = 0;
  PageRuns dirty_pages_;  // For SendDirtyPages.
  uint64_t dirty_pages_last_ = 0;
  StandbyGaps gaps_;
  uint64_t input_frames_ = 0;
  uint64_t input_dropped_before_ = 0;  // By earlier targets' queues.
  uint64_t output_frames_ = 0;
  uint64_t output_dropped_ = 0;

  CheckpointBytes arrived_;                       // The checkpoint that waits for Apply.
  std::map<uint64_t, uint64_t> unapplied_bytes_;  // By epoch.

  // Measurements.
  std::optional<absl::Duration> committed_at_;
  std::optional<absl::Duration> heard_at_;
  uint64_t received_bytes_ = 0;
  absl::Duration detect_;
  CheckpointTarget::ActivationTimes activation_;
  absl::Status last_error_;
  absl::Duration last_error_at_;
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_STANDBY_STANDBY_DRIVER_H_
