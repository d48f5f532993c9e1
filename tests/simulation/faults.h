#ifndef ROMULUS_TESTS_SIMULATION_FAULTS_H_
#define ROMULUS_TESTS_SIMULATION_FAULTS_H_

#include <cstdint>
#include <map>
#include <string>

#include "tests/simulation/world.h"

namespace romulus::simulation {

// What goes wrong in a world.
class Faults {
 public:
  explicit Faults(World* world) : world_(*world) {}

  void InjectOne();
  // Everything that was injected ends.
  void Heal();

  const std::map<std::string, uint64_t>& injected() const { return injected_; }
  bool primary_host_lost() const { return primary_host_lost_; }
  bool guest_destroyed() const { return guest_destroyed_; }
  bool activation_failed() const { return activation_failed_; }

 private:
  void Partition(bool to_secondary, bool to_primary);
  void Stall(Host& host);

  World& world_;
  std::map<std::string, uint64_t> injected_;
  bool primary_host_lost_ = false;
  bool guest_destroyed_ = false;
  bool activation_failed_ = false;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_FAULTS_H_
