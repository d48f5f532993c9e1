#ifndef ROMULUS_NETBUF_EGRESS_SIZING_H_
#define ROMULUS_NETBUF_EGRESS_SIZING_H_

#include <cstdint>

#include "absl/time/time.h"

namespace romulus {

// How large a vif's egress buffer is where nobody says it, and how often it is looked at. Pure.

struct EgressDemand {
  // What the vif can send at most (link_rate.h).
  uint64_t bytes_per_second = 0;
  // The protection's.
  absl::Duration interval;
  // What this host has free for all vifs of the protection, and how many they are.
  uint64_t free_memory_bytes = 0;
  uint32_t vifs = 1;
};

// What the link sends while output is usually held at worst, two intervals and a commit: a packet at the beginning of
// an epoch waits for the end of that epoch; where the mark of its end could not be set, because the commit before was
// late, for the end of the next one; then until that one's checkpoint is captured, sent and committed. A commit is
// allowed kCommitAllowance. No less than kEgressLimitFloor, no more than kEgressLimitCeiling, and all vifs together no
// more than an eighth of the memory that is free, but for the floor: what is held is this host's memory.
inline constexpr absl::Duration kCommitAllowance = absl::Milliseconds(100);
inline constexpr uint32_t kEgressLimitFloor = 4u << 20;      // 64 GSO packets.
inline constexpr uint32_t kEgressLimitCeiling = 512u << 20;  // 10 Gb/s at the default interval, and some.
uint32_t EgressLimitBytes(const EgressDemand& demand);

// How often the buffers are looked at: so often that the link can't fill more than an eighth of the limit in between;
// at least every 10 ms, for the sake of the times held, and at most every 2 ms, for the sake of this host.
absl::Duration EgressSamplePeriod(uint32_t limit_bytes, uint64_t bytes_per_second);

}  // namespace romulus

#endif  // ROMULUS_NETBUF_EGRESS_SIZING_H_
