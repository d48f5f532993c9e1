#ifndef ROMULUS_TESTS_SIMULATION_SIMULATED_STANDBY_TRAFFIC_H_
#define ROMULUS_TESTS_SIMULATION_SIMULATED_STANDBY_TRAFFIC_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "secondary/standby_traffic.h"
#include "tests/simulation/host.h"
#include "tests/simulation/process.h"
#include "tests/simulation/random.h"

namespace romulus::simulation {

// The simulated StandbyTraffic: what the standby's guest gets takes a moment, and so does what it sends. Its output
// goes nowhere but to the observer, as long as it is not open; then the guest's frames are the host's own business.
class SimulatedStandbyTraffic final : public StandbyTraffic {
 public:
  using OnInput = std::function<void(const std::string& frame)>;

  SimulatedStandbyTraffic(Host* host, Process agent, Random* random, OnInput on_input)
      : host_(host), agent_(std::move(agent)), random_(random), on_input_(std::move(on_input)) {}
  ~SimulatedStandbyTraffic() override { *here_ = false; }

  void Start(Observer* observer) override { observer_ = observer; }
  // In order: later frames take at least as long.
  void Input(std::vector<TrafficFrame> frames) override {
    for (TrafficFrame& frame : frames) {
      host_->machine->After(Delay(),
                            [this, here = here_, checkpoint = checkpoint_, contents = std::move(frame.contents)] {
                              if (*here && !open_ && checkpoint == checkpoint_) on_input_(contents);
                            });
    }
  }
  void OnCheckpoint() override { ++checkpoint_; }
  void AddOffset(const packet::SequenceOffset&) override {}
  void Open() override { open_ = true; }

  // The guest has sent a frame.
  void Send(std::string contents) {
    agent_.After(Delay(), [this, here = here_, checkpoint = checkpoint_, contents = std::move(contents)] {
      if (*here && !open_ && checkpoint == checkpoint_) observer_->OnOutput({{0, contents}});
    });
  }

 private:
  // A queue that is worked off: the order is kept because the world runs what is due at one time in order.
  absl::Duration Delay() {
    const absl::Duration now = host_->machine->now();
    free_at_ = std::max(free_at_, now) + random_->Between(absl::Microseconds(10), absl::Microseconds(500));
    return free_at_ - now;
  }

  Host* const host_;
  const Process agent_;
  Random* const random_;
  const OnInput on_input_;
  Observer* observer_ = nullptr;
  std::shared_ptr<bool> here_ = std::make_shared<bool>(true);
  absl::Duration free_at_;
  uint64_t checkpoint_ = 0;
  bool open_ = false;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_SIMULATED_STANDBY_TRAFFIC_H_
