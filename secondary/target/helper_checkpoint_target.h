#ifndef ROMULUS_SECONDARY_TARGET_HELPER_CHECKPOINT_TARGET_H_
#define ROMULUS_SECONDARY_TARGET_HELPER_CHECKPOINT_TARGET_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/loop/event_loop.h"
#include "common/process/helper_process.h"
#include "secondary/checkpoint_target.h"
#include "secondary/target/checkpoint_pipe.h"
#include "secondary/target/serial_worker.h"
#include "secondary/target/standby_guest.h"

namespace romulus {

// The real CheckpointTarget: a domain on this host and a romulus-restore-helper that fills it through a pipe.
// OnApplied(1) follows FinishSeeding.
//
// In lockstep the helper also suspends and resumes the guest, with its devices (secondary/restore_helper/README.md);
// what is left for this process is the guest's place in the network, in which it has none before the activation.
//
// Hypercalls, xenstore and the pipe are a worker thread's, in the order of the calls, so the loop never waits for them.
// Destruction (loop thread) leaves a paused domain behind, which FindLeftoverStandbys finds, or a running guest if it
// was activated; it never starts one and never destroys one that runs.
class HelperCheckpointTarget final : public CheckpointTarget, private HelperProcess::Observer {
 public:
  struct Options {
    // Path of romulus-restore-helper.
    std::string restore_helper;
    CreateStandbyGuest create_guest;
    // From Activate until the last checkpoint is applied.
    absl::Duration restore_timeout = absl::Minutes(2);
  };

  // `loop` outlives the target. SIGPIPE has to be ignored.
  HelperCheckpointTarget(EventLoop& loop, Options options);
  ~HelperCheckpointTarget() override;

  void Prepare(const replication::v1::DomainDescription& domain, bool lockstep,
               CheckpointTarget::Observer* observer) override;
  void FinishSeeding(std::string tail, AfterCheckpoint after) override;
  void Apply(uint64_t epoch, CheckpointBytes bytes, AfterCheckpoint after) override;
  void Suspend(uint64_t epoch) override;
  void Freeze() override;
  void Activate() override;
  void Discard() override;

  // Of the helper, for tests; 0 when there is none.
  pid_t helper_pid() const { return helper_ == nullptr ? 0 : helper_->pid(); }

 private:
  enum class Phase { kIdle, kPreparing, kReceiving, kRestoring, kStarting, kActive, kBroken, kDiscarding, kGone };

  // HelperProcess::Observer
  void OnMessage(const helper::v1::HelperToAgent& message) override;
  void OnExit(const HelperProcess::Result& result) override;

  // What the helper says of a guest that may run along.
  void OnStandbyRunning(const helper::v1::StandbyRunning& running);
  void OnStandbySuspended(const helper::v1::StandbySuspended& suspended);
  void OnLockstepRefused(const helper::v1::LockstepRefused& refused);
  void BreakOff(const std::string& what);
  // Once `epoch` is applied, which this process may hear later than the helper's answer to it.
  void WhenApplied(uint64_t epoch, std::function<void()> then);
  void OnWritten(uint64_t epoch);

  void OnGuestCreated(absl::Status status, StandbyDomainIds ids);
  absl::Status StartHelper(const StandbyDomainIds& ids);
  void Queue(uint64_t epoch, CheckpointBytes bytes, AfterCheckpoint after);
  // All but the first `skip` bytes.
  void QueueWrite(uint64_t epoch, CheckpointBytes bytes, size_t skip);
  void OnWriteFailed(const absl::Status& status);
  void StartGuest(const helper::v1::Complete& complete);
  // The guest runs along, or is frozen: it becomes the guest.
  void TakeOverGuest();
  // Of a frozen one: its vCPUs run.
  void FinishTakeOver();
  void UnfreezeWithoutHelper();
  void BecomeActive(const ActivationTimes& times);
  void SendActivate();
  void OnGuestStarted(absl::Status status, const ActivationTimes& times);
  void AnnounceAfter(absl::Duration delay);
  void DestroyGuest(std::function<void()> then);
  // Runs `task` on the loop unless the target is gone by then. From the worker.
  void PostToLoop(std::function<void()> task);

  EventLoop& loop_;
  const Options options_;
  CheckpointTarget::Observer* observer_ = nullptr;
  Phase phase_ = Phase::kIdle;
  std::shared_ptr<CheckpointPipe> pipe_;
  std::unique_ptr<HelperProcess> helper_;
  Scheduler::TimerId timer_ = Scheduler::kNoTimer;
  absl::Duration activation_began_;
  replication::v1::DomainDescription domain_;
  bool lockstep_ = false;
  enum class Along {
    kNot,       // It waits.
    kStarting,  // It was asked to run along.
    kRunning,   // OnRunning came.
    kSuspending,
    kSuspended,  // With its own state.
  };
  Along along_ = Along::kNot;
  bool frozen_ = false;
  // Of a guest that is taken over while it is frozen, from its becoming the guest until its vCPUs run.
  std::optional<ActivationTimes> until_it_goes_on_;
  uint64_t suspend_epoch_ = 0;
  PageRuns dirty_;  // Of the list that is coming in.
  uint64_t applied_ = 0;
  std::function<void()> when_applied_;  // When when_applied_epoch_ is.
  uint64_t when_applied_epoch_ = 0;
  // Set before the guest may be gone: what is queued for the worker must not start it any more.
  std::atomic<bool> discarded_{false};
  const std::shared_ptr<int> alive_ = std::make_shared<int>(0);

  // The worker thread's.
  std::unique_ptr<StandbyGuest> guest_;
  bool write_failed_ = false;

  SerialWorker worker_;  // Last: it ends before what it uses.
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_HELPER_CHECKPOINT_TARGET_H_
