#ifndef ROMULUS_PRIMARY_CHECKPOINT_SOURCE_CONTRACT_H_
#define ROMULUS_PRIMARY_CHECKPOINT_SOURCE_CONTRACT_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "primary/checkpoint_source.h"

namespace romulus {

// A host with one running guest of a few pages, for CheckpointSourceContract.
class CheckpointSourceHarness {
 public:
  static constexpr int kPages = 4;

  virtual ~CheckpointSourceHarness() = default;

  // Whether its sources can be asked for checkpoints with the standby's pages.
  virtual bool knows_lockstep() const { return false; }

  // `impatient`: it waits only a short time for the guest to suspend, for PermitResume and for AddStandbyPages.
  virtual std::unique_ptr<CheckpointSource> NewSource(bool impatient) = 0;
  // Reads it to its end or its error while the loop runs; then calls `done` on the scheduler's thread.
  virtual void ReadAll(std::shared_ptr<CheckpointReader> reader,
                       std::function<void(absl::StatusOr<std::string>)> done) = 0;

  // Serves the agent until `condition`. False: it gave up.
  virtual bool RunUntil(const std::function<bool()>& condition) = 0;
  // Serves it until everything that is under way by itself has come.
  virtual void Settle() = 0;
  // Time passes for guest and hypervisor, while the agent's loop does not run.
  virtual void LetGuestSuspend() = 0;

  // The guest writes to its memory.
  virtual void Write(int page, uint64_t value) = 0;
  virtual bool suspended() = 0;
  virtual bool tracking_dirty_pages() = 0;
  // Nothing that the source has started is left on the host.
  virtual bool nothing_left() = 0;

  // It acknowledges no suspend any more.
  virtual void MakeGuestDeaf() = 0;
  virtual void DestroyDomain() = 0;
  // What captures for the latest source dies.
  virtual void KillHelper() = 0;
};

// What every CheckpointSource keeps. A test binary instantiates it with its harness.
class CheckpointSourceContract
    : public ::testing::TestWithParam<std::function<std::unique_ptr<CheckpointSourceHarness>()>>,
      public CheckpointSource::Observer {
 protected:
  // Where a session may be interrupted.
  enum class Point { kStarted, kSeeding, kSuspended, kPermitted, kCaptured, kIdle, kRequested };
  struct Place {
    Point point;
    uint64_t epoch;
  };
  static const std::vector<Place>& AllPlaces();
  static std::string NameOf(const Place& place);

  void TearDown() override;

  void OnSeeding(std::shared_ptr<CheckpointReader> reader) override;
  void OnSeedingProgress(uint64_t pages_sent, uint64_t pages_dirty) override;
  void OnSuspended(uint64_t epoch) override;
  void OnCaptured(CheckpointSource::Captured captured) override;
  void OnEnded(absl::Status status) override;

  void Start(bool impatient = false);
  void Request(uint64_t epoch, bool with_standby_pages = false);
  void AddStandbyPages(uint64_t epoch, PageRuns pages);
  void Permit(uint64_t epoch);
  void Stop();
  // Runs a new session and does `action` at `place`; checkpoints follow one another before it.
  void RunTo(const Place& place, std::function<void()> action);
  // Ends the test if it never comes.
  void RunUntil(const std::function<bool()>& condition);
  void RunUntilCaptured(uint64_t epoch);
  void RunUntilEnded();
  // After the end, or the source's destruction: the guest runs untracked, and nothing is left on the host.
  void ExpectGuestLeftRunning();
  // The bytes of a whole checkpoint, as libxc would take them.
  static void ExpectCheckpoint(uint64_t epoch, const std::string& bytes, uint64_t* pages);
  static bool Holds(const std::string& bytes, uint64_t value);

  std::unique_ptr<CheckpointSourceHarness> harness_ = GetParam()();
  std::unique_ptr<CheckpointSource> source_;

  bool permits_ = true;
  uint64_t last_epoch_ = 1;  // No further one is requested from within OnCaptured.
  std::optional<Place> place_;
  std::function<void()> action_;

  std::string story_;
  bool seeding_begun_ = false;
  std::optional<absl::StatusOr<std::string>> seeded_;
  std::vector<CheckpointSource::Captured> captured_;
  std::vector<absl::Status> ended_;
  int callbacks_ = 0;

 private:
  void OnCallback();
  bool At(Point point, uint64_t epoch);

  const std::thread::id thread_ = std::this_thread::get_id();
  int calls_ = 0;
  bool stopped_ = false;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CHECKPOINT_SOURCE_CONTRACT_H_
