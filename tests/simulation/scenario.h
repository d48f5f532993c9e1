#ifndef ROMULUS_TESTS_SIMULATION_SCENARIO_H_
#define ROMULUS_TESTS_SIMULATION_SCENARIO_H_

#include <cstdint>
#include <map>
#include <string>

#include "tests/simulation/world.h"

namespace romulus::simulation {

struct Outcome {
  std::string violation;                   // Empty: all invariants held.
  std::map<std::string, uint64_t> faults;  // Injected, by kind.
  uint64_t checkpoints = 0;
  uint64_t takeovers = 0;
  uint64_t answers = 0;
  uint64_t early_checkpoints = 0;
  uint64_t dropped = 0;
  uint64_t runs_along = 0;
  uint64_t compared = 0;
  uint64_t divergences = 0;
  std::string ending;
};

// One seeded history: a protection, faults and a control plane's requests at random; then everything heals, and
// protection must be restored or rightly over; then it is deleted, and nothing may be left.
Outcome RunScenario(uint64_t seed, Mutant mutant, bool trace, Mode mode);

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_SCENARIO_H_
