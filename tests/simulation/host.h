#ifndef ROMULUS_TESTS_SIMULATION_HOST_H_
#define ROMULUS_TESTS_SIMULATION_HOST_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "common/ownership/memory_generation_store.h"
#include "netbuf/simulated_plug_kernel.h"
#include "primary/lockstep/simulated_guest_traffic.h"
#include "tests/simulation/guest.h"
#include "tests/simulation/process.h"

namespace romulus::simulation {

// What outlives the agents on a host: hypervisor, kernel, disk. Losing power takes all but the disk.
class Host {
 public:
  Host(std::string name, VirtualClock* clock, SimulatedPlugKernel::Sink sink,
       lockstep::SimulatedDiversions::Sink frame_sink = nullptr)
      : name(std::move(name)), clock_(clock), sink_(std::move(sink)), frame_sink_(std::move(frame_sink)) {
    PowerOn();
  }

  void PowerOn() {
    powered = true;
    gate = std::make_shared<StallGate>();
    kernel = std::make_shared<SimulatedPlugKernel>(sink_);
    diversions = std::make_shared<lockstep::SimulatedDiversions>([this] { return clock_->now(); }, frame_sink_);
    machine = std::make_unique<Process>(clock_, gate);
  }
  void PowerOff() {
    powered = false;
    machine->Kill();
    domains.clear();
    kernel.reset();
    diversions.reset();
    helpers = 0;
  }
  std::shared_ptr<Domain> NewDomain() {
    auto domain = std::make_shared<Domain>();
    domain->domid = ++last_domid_;
    domains[domain->domid] = domain;
    return domain;
  }
  void Destroy(const std::shared_ptr<Domain>& domain) {
    if (domain->destroyed) return;
    domain->destroyed = true;
    domains.erase(domain->domid);
    if (kernel != nullptr) kernel->RemoveVif(domain->vif());
    if (diversions != nullptr) diversions->RemoveVif(domain->vif());
  }

  const std::string name;
  bool powered = false;
  std::shared_ptr<StallGate> gate;
  std::shared_ptr<SimulatedPlugKernel> kernel;
  // Of vifs whose frames an agent holds, instead of the kernel (lockstep).
  std::shared_ptr<lockstep::SimulatedDiversions> diversions;
  // Whatever on this host is not the agent: helpers, the hypervisor's own timing.
  std::unique_ptr<Process> machine;
  std::map<uint32_t, std::shared_ptr<Domain>> domains;
  int helpers = 0;  // Running.
  MemoryGenerationStore store;

  // Faults to come.
  int failing_pauses = 0;
  int failing_suspends = 0;
  int failing_prepares = 0;
  int failing_activations = 0;
  int failing_traffic = 0;  // Operations on diverted vifs.
  int failing_runs = 0;     // A standby that is to run along can't.

 private:
  VirtualClock* const clock_;
  const SimulatedPlugKernel::Sink sink_;
  const lockstep::SimulatedDiversions::Sink frame_sink_;
  uint32_t last_domid_ = 0;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_HOST_H_
