#include "netbuf/egress_sizing.h"

#include <algorithm>

namespace romulus {
namespace {

constexpr uint64_t kFreeMemoryDivisor = 8;
constexpr double kLimitShareBetweenSamples = 1.0 / 8;
constexpr absl::Duration kSamplePeriodMin = absl::Milliseconds(2);
constexpr absl::Duration kSamplePeriodMax = absl::Milliseconds(10);

}  // namespace

uint32_t EgressLimitBytes(const EgressDemand& demand) {
  const double held_s = absl::ToDoubleSeconds(2 * demand.interval + kCommitAllowance);
  double limit = static_cast<double>(demand.bytes_per_second) * held_s;
  const uint64_t memory = demand.free_memory_bytes / kFreeMemoryDivisor / std::max(demand.vifs, 1u);
  limit = std::min({limit, static_cast<double>(memory), static_cast<double>(kEgressLimitCeiling)});
  return std::max(static_cast<uint32_t>(limit), kEgressLimitFloor);
}

absl::Duration EgressSamplePeriod(uint32_t limit_bytes, uint64_t bytes_per_second) {
  if (bytes_per_second == 0) return kSamplePeriodMax;
  const absl::Duration share =
      absl::Seconds(limit_bytes * kLimitShareBetweenSamples / static_cast<double>(bytes_per_second));
  return std::clamp(share, kSamplePeriodMin, kSamplePeriodMax);
}

}  // namespace romulus
