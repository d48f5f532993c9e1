#ifndef ROMULUS_SECONDARY_CHECKPOINT_TARGET_CONTRACT_H_
#define ROMULUS_SECONDARY_CHECKPOINT_TARGET_CONTRACT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "secondary/checkpoint_target.h"

namespace romulus {

// A host that can take one standby of a few pages, for CheckpointTargetContract.
class CheckpointTargetHarness {
 public:
  static constexpr int kPages = 4;

  virtual ~CheckpointTargetHarness() = default;
  virtual std::unique_ptr<CheckpointTarget> NewTarget() = 0;

  // Whether its targets can be prepared for lockstep, and their guests run along.
  virtual bool knows_lockstep() const { return false; }
  // The guest's vCPUs go, as a guest that runs along or as the guest.
  virtual bool goes() { return runs(); }
  // A guest that runs along writes to its memory.
  virtual void WriteAlong(int /*page*/, uint64_t /*value*/) {}
  // The next time that it is to, the guest can't run along.
  virtual void RefuseLockstep() {}

  // Serves the agent until `condition`. False: it gave up.
  virtual bool RunUntil(const std::function<bool()>& condition) = 0;
  // Serves it until everything that is under way by itself has come.
  virtual void Settle() = 0;

  // The last domain that was created.
  virtual bool exists() = 0;
  virtual bool runs() = 0;
  virtual uint64_t page(int number) = 0;
  virtual bool helper_runs() = 0;

  virtual void FailToCreate() = 0;
  virtual void FailToRun() = 0;
  // What restores for the latest target dies.
  virtual void KillHelper() = 0;
};

// What every CheckpointTarget keeps. A test binary instantiates it with its harness.
class CheckpointTargetContract
    : public ::testing::TestWithParam<std::function<std::unique_ptr<CheckpointTargetHarness>()>>,
      public CheckpointTarget::Observer {
 protected:
  // How far a target has come.
  enum class Place { kPreparing, kPrepared, kSeedingHalf, kSeeded, kApplied, kActivating, kActivated };
  static const std::vector<Place>& PlacesBeforeActivation();

  void TearDown() override;

  void OnPrepared(absl::Status status, std::shared_ptr<CheckpointSink> seed_sink, uint32_t domid) override;
  void OnApplied(uint64_t epoch) override;
  void OnRunning(uint64_t epoch, const StandbyGap* gap) override;
  void OnSuspended(uint64_t epoch, PageRuns dirty) override;
  void OnLockstepRefused(uint64_t epoch, absl::Status why) override;
  void OnBroken(absl::Status status) override;
  void OnActivated(absl::Status status, CheckpointTarget::ActivationTimes times) override;
  void OnDiscarded() override;

  void Prepare(bool lockstep = false);
  void FinishSeeding(AfterCheckpoint after = AfterCheckpoint::kWait);
  void Apply(uint64_t epoch, int page, uint64_t value, AfterCheckpoint after = AfterCheckpoint::kWait);
  void Suspend(uint64_t epoch);
  void Freeze();
  // A new target whose guest runs along from checkpoint 1.
  void RunAlong();
  void RunUntilRunning(uint64_t epoch);
  // Of a guest that runs along.
  void SuspendAndWait(uint64_t epoch);
  void Activate();
  void Discard();
  void RunTo(Place place);
  // Ends the test if it never comes.
  void RunUntil(const std::function<bool()>& condition);
  void Reset();

  std::unique_ptr<CheckpointTargetHarness> harness_ = GetParam()();
  std::unique_ptr<CheckpointTarget> target_;
  std::optional<absl::Status> prepared_;
  std::shared_ptr<CheckpointSink> sink_;
  uint64_t applied_ = 0;
  uint64_t running_ = 0;
  uint64_t suspended_ = 0;
  PageRuns dirty_;
  uint64_t refused_ = 0;
  std::optional<absl::Status> broken_;
  std::optional<absl::Status> activated_;
  bool discarded_ = false;
  int callbacks_ = 0;

 private:
  void OnCallback();

  const std::thread::id thread_ = std::this_thread::get_id();
  int calls_ = 0;
  bool activating_ = false;
  bool discarding_ = false;
  bool lockstep_ = false;
  uint64_t asked_to_run_ = 0;
  bool frozen_ = false;
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_CHECKPOINT_TARGET_CONTRACT_H_
