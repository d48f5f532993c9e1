#ifndef ROMULUS_TESTS_SIMULATION_SIMULATED_SOURCE_H_
#define ROMULUS_TESTS_SIMULATION_SIMULATED_SOURCE_H_

#include <functional>
#include <memory>
#include <string>

#include "primary/checkpoint_source.h"
#include "tests/simulation/host.h"
#include "tests/simulation/random.h"

namespace romulus::simulation {

// A checkpoint that is still growing: the first copy.
class GrowingReader final : public CheckpointReader {
 public:
  void Append(const std::string& bytes) { bytes_ += bytes; }
  void Finish() { whole_ = true; }
  bool cancelled() const { return cancelled_; }
  // A Read of this many would not have to wait.
  bool Ready(size_t count) const { return whole_ || cancelled_ || bytes_.size() - offset_ >= count; }

  absl::StatusOr<size_t> Read(absl::Span<char> buffer) override;
  void Cancel() override { cancelled_ = true; }

 private:
  std::string bytes_;
  size_t offset_ = 0;
  bool whole_ = false;
  bool cancelled_ = false;
};

// The simulated CheckpointSource: a save helper (which outlives the agent) over a simulated guest.
class SimulatedSource final : public CheckpointSource {
 public:
  // What is captured, for the checkers.
  using OnCapture = std::function<void(uint64_t epoch, const GuestMemory&)>;

  SimulatedSource(Host* host, std::shared_ptr<Domain> domain, Process agent, Random* random, OnCapture on_capture);
  // The agent's death: the helper notices, and leaves the guest running.
  ~SimulatedSource() override;

  void Start(Observer* observer) override;
  void RequestCheckpoint(uint64_t epoch, bool with_standby_pages) override;
  void AddStandbyPages(uint64_t epoch, PageRuns pages) override;
  void PermitResume(uint64_t epoch) override;
  void Stop() override;

  // Mutant ignore-standby: what the standby has written to is not sent.
  void IgnoreStandbyPages() { ignore_standby_pages_ = true; }

  // A fault: the helper dies (SIGSEGV).
  void KillHelper();

 private:
  void ToAgent(absl::Duration delay, std::function<void(Observer*)> call);
  void WatchDomain();
  void Suspend(uint64_t epoch);
  // Once it may resume, and all pages are known.
  void Capture();
  void End(absl::Status status, absl::Duration delay);

  Host* const host_;
  const std::shared_ptr<Domain> domain_;
  const Process agent_;
  Random* const random_;
  const OnCapture on_capture_;
  Observer* observer_ = nullptr;
  std::shared_ptr<bool> here_ = std::make_shared<bool>(true);
  std::shared_ptr<GrowingReader> seeding_;  // Until checkpoint 1 is captured.
  bool ended_ = false;
  bool ignore_standby_pages_ = false;
  bool suspended_ = false;  // For the checkpoint that is being taken.
  bool awaiting_permit_ = false;
  bool awaiting_pages_ = false;
  PageRuns standby_pages_;
  uint64_t epoch_ = 0;
  absl::Duration suspend_requested_;
  absl::Duration suspend_;  // From then until suspended.
};

// The simulated GuestControl.
class SimulatedGuestControl final : public GuestControl {
 public:
  SimulatedGuestControl(Host* host, std::shared_ptr<Domain> domain) : host_(host), domain_(std::move(domain)) {}
  absl::Status Pause() override { return Set(true); }
  absl::Status Unpause() override { return Set(false); }

 private:
  absl::Status Set(bool paused);
  Host* const host_;
  const std::shared_ptr<Domain> domain_;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_SIMULATED_SOURCE_H_
