#ifndef ROMULUS_TESTS_SIMULATION_RANDOM_H_
#define ROMULUS_TESTS_SIMULATION_RANDOM_H_

#include <cstdint>

#include "absl/time/time.h"

namespace romulus::simulation {

// splitmix64: the same numbers from the same seed on every machine, unlike the standard distributions.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // 0 .. bound - 1.
  uint64_t Below(uint64_t bound) { return Next() % bound; }
  bool Chance(uint64_t in_thousand) { return Below(1000) < in_thousand; }
  absl::Duration Between(absl::Duration low, absl::Duration high) {
    int64_t width = absl::ToInt64Microseconds(high - low) + 1;
    return low + absl::Microseconds(static_cast<int64_t>(Below(static_cast<uint64_t>(width))));
  }

 private:
  uint64_t state_;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_RANDOM_H_
