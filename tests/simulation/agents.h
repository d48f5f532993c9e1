#ifndef ROMULUS_TESTS_SIMULATION_AGENTS_H_
#define ROMULUS_TESTS_SIMULATION_AGENTS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "primary/protection/protection_driver.h"
#include "secondary/standby/standby_driver.h"
#include "tests/simulation/host.h"
#include "tests/simulation/process.h"
#include "tests/simulation/simulated_link.h"
#include "tests/simulation/simulated_source.h"
#include "tests/simulation/simulated_standby_traffic.h"
#include "tests/simulation/simulated_target.h"

namespace romulus::simulation {

inline constexpr char kProtection[] = "protections/guest";

// A fixed interval of at most `interval_max`, or a goal.
protection::Pacing RandomPacing(Random& random, absl::Duration interval_max);

// The settings that an update can change, as a record's detail.
std::string DetailOf(const protection::Config& config);
void ApplyDetail(const std::string& detail, protection::Config& config);

// A primary agent with one protection: the product's driver and core over simulated seams. Destroying it is its crash.
class PrimaryAgent : public ProtectionDriver::Observer {
 public:
  struct Parts {
    Host* host;
    VirtualClock* clock;
    Random* random;
    std::shared_ptr<Domain> domain;
    protection::Config config;
    absl::Duration heartbeat_interval;
    uint32_t egress_limit_bytes = 0;
    EgressWatch::Options egress_watch;
    bool release_early = false;
    bool lockstep = false;
    bool uncompared = false;
    bool ignore_standby = false;
    SimulatedPrimaryLink::Hooks link_hooks;
    SimulatedSource::OnCapture on_capture;
    std::function<void(const std::string&)> trace;
  };

  explicit PrimaryAgent(const Parts& parts);
  ~PrimaryAgent() override;

  void OnChanged(bool phase_changed) override;
  void OnCheckpoint(const EpochTrace&) override { ++checkpoints; }

  Process process;
  SimulatedScheduler scheduler;
  std::unique_ptr<ProtectionDriver> driver;
  // The last one made; null once the driver has let go of it.
  SimulatedSource* source = nullptr;
  GuestLockstep* lockstep = nullptr;  // Null: not in lockstep.
  // By its egress buffer, in lockstep.
  uint64_t dropped() const;
  uint64_t checkpoints = 0;

 private:
  std::function<void(const std::string&)> trace_;
  std::string state_;
  romulus::lockstep::LockstepEgressBuffer* buffer_ = nullptr;
};

class SecondaryAgent : public StandbyDriver::Observer {
 public:
  struct Parts {
    Host* host;
    VirtualClock* clock;
    Random* random;
    std::function<void(uint64_t session, const GuestMemory&)> on_run;
    std::function<void(uint64_t session, uint64_t epoch, const GuestMemory&)> on_run_along;
    // A frame reaches the standby's guest.
    std::function<void(uint32_t domid, const std::string& frame)> on_input;
    bool reapply = false;
    std::function<std::string()> partial;
    std::function<void(const std::string&)> trace;
  };

  explicit SecondaryAgent(const Parts& parts);
  ~SecondaryAgent() override;

  void OnChanged(bool phase_changed) override;

  Process process;
  SimulatedScheduler scheduler;
  std::unique_ptr<StandbyDriver> driver;
  SimulatedTarget* target = nullptr;
  uint64_t target_session = 0;
  SimulatedStandbyTraffic* traffic = nullptr;
  // What the standby's guest was when its activation was decided on.
  standby::Standby::Guest guest = standby::Standby::Guest::kWaits;

 private:
  std::function<void(const std::string&)> trace_;
  std::string state_;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_AGENTS_H_
