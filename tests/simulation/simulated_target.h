#ifndef ROMULUS_TESTS_SIMULATION_SIMULATED_TARGET_H_
#define ROMULUS_TESTS_SIMULATION_SIMULATED_TARGET_H_

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "secondary/checkpoint_target.h"
#include "tests/simulation/host.h"
#include "tests/simulation/random.h"

namespace romulus::simulation {

// The simulated CheckpointTarget: a restore helper that applies real checkpoints to a domain of the simulated host.
class SimulatedTarget final : public CheckpointTarget {
 public:
  struct Hooks {
    // The guest is about to run from this memory.
    std::function<void(const GuestMemory&)> on_run;
    // It is about to run along, from checkpoint `epoch`.
    std::function<void(uint64_t epoch, const GuestMemory&)> on_run_along;
    // For the mutant activate-partial: bytes of an unfinished checkpoint. Null: none, as it must be.
    std::function<std::string()> partial;
    // Mutant reapply: a takeover goes back to the last checkpoint, whatever the guest has done since.
    bool reapply = false;
  };

  SimulatedTarget(Host* host, Process agent, Random* random, Hooks hooks);
  // The agent's death, if it was not discarded before: the helper goes, and an idle domain with it.
  ~SimulatedTarget() override;

  void Prepare(const replication::v1::DomainDescription& domain, bool lockstep, Observer* observer) override;
  void FinishSeeding(std::string tail, AfterCheckpoint after) override;
  void Apply(uint64_t epoch, CheckpointBytes bytes, AfterCheckpoint after) override;
  void Suspend(uint64_t epoch) override;
  void Freeze() override;
  void Activate() override;
  void Discard() override;

  // A fault: the helper dies.
  void KillHelper();

 private:
  class Sink;
  void ToAgent(absl::Duration delay, std::function<void(Observer*)> call);
  struct Queued {
    uint64_t epoch = 0;
    std::string bytes;
    AfterCheckpoint after = AfterCheckpoint::kWait;
  };
  void Work();
  void Queue(Queued checkpoint);
  // The checkpoint that was applied last is one to run from.
  void RunAlong(uint64_t epoch);
  void Break(absl::Status status);
  void FailActivation(absl::Status status);

  Host* const host_;
  const Process agent_;
  Random* const random_;
  const Hooks hooks_;
  Observer* observer_ = nullptr;
  std::shared_ptr<bool> here_ = std::make_shared<bool>(true);
  std::shared_ptr<Domain> domain_;
  std::shared_ptr<Sink> sink_;
  std::deque<Queued> queue_;
  bool lockstep_ = false;
  bool frozen_ = false;
  bool resuming_ = false;   // It is going to run along.
  GuestMemory checkpoint_;  // As applied last, for the mutant.
  bool seeded_ = false;
  bool working_ = false;
  bool activating_ = false;
  enum class State { kWaiting, kBroken, kDiscarding, kRunning } state_ = State::kWaiting;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_SIMULATED_TARGET_H_
