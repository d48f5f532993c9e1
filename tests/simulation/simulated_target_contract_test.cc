#include <memory>

#include "secondary/checkpoint_target_contract.h"
#include "tests/simulation/simulated_target.h"

namespace romulus::simulation {
namespace {

// The simulated side of the seam: a host on the virtual clock.
class SimulatedTargetHarness final : public CheckpointTargetHarness {
 public:
  std::unique_ptr<CheckpointTarget> NewTarget() override {
    SimulatedTarget::Hooks hooks;
    hooks.on_run = [this](const GuestMemory& memory) { memory_ = memory; };
    hooks.on_run_along = [](uint64_t, const GuestMemory&) {};
    auto target = std::make_unique<SimulatedTarget>(&host_, agent_, &random_, hooks);
    latest_ = target.get();
    return target;
  }

  bool RunUntil(const std::function<bool()>& condition) override { return clock_.RunUntil(condition); }
  void Settle() override { clock_.RunFor(absl::Seconds(5)); }

  bool exists() override { return !host_.domains.empty(); }
  bool runs() override { return goes() && domain().started; }
  bool goes() override { return exists() && domain().Runs(); }
  uint64_t page(int number) override {
    // From when it was run on, what it was run with: nobody executes it here.
    return (exists() && !domain().started ? domain().memory : memory_).pages[number].words[0];
  }
  bool helper_runs() override { return host_.helpers > 0; }

  void FailToCreate() override { host_.failing_prepares = 1; }
  void FailToRun() override { host_.failing_activations = 1; }
  void KillHelper() override { latest_->KillHelper(); }

  bool knows_lockstep() const override { return true; }
  void WriteAlong(int page, uint64_t value) override {
    domain().memory.pages[page].words[0] = value;
    domain().dirty.insert(page);
  }
  void RefuseLockstep() override { host_.failing_runs = 1; }

 private:
  Domain& domain() { return *host_.domains.begin()->second; }

  VirtualClock clock_;
  Random random_{1};
  Host host_{"host", &clock_, nullptr};
  Process agent_{&clock_, host_.gate};
  GuestMemory memory_;
  SimulatedTarget* latest_ = nullptr;
};

INSTANTIATE_TEST_SUITE_P(Simulated, CheckpointTargetContract,
                         testing::Values([] { return std::make_unique<SimulatedTargetHarness>(); }));

}  // namespace
}  // namespace romulus::simulation
