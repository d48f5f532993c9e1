#ifndef ROMULUS_PRIMARY_COMPARISON_NEIGHBOUR_COMPARISON_H_
#define ROMULUS_PRIMARY_COMPARISON_NEIGHBOUR_COMPARISON_H_

#include "absl/container/flat_hash_set.h"
#include "primary/comparison/flow_comparison.h"

namespace romulus::comparison {

// ARP, neighbour and router discovery, IGMP, MLD, and every frame that is not IP or not understood: a frame may leave
// once the standby has sent exactly the same since it runs, and every further one like it, too. What only the standby
// sends is no difference: when these protocols speak is a matter of each guest's own timers, and what they say changes
// nothing at the other end that the next checkpoint could contradict. Of IP packets what follows the IP headers is
// compared, of ARP the frame without padding, of others the whole frame.
//
// colo-compare lets what it does not know (in its case also IPv6 and VLANs) out at once, uncompared.
class NeighbourComparison : public FlowComparison {
 public:
  explicit NeighbourComparison(const Settings& settings) : settings_(settings) {}

  Verdict Judge(const HeldFrame& frame, uint32_t offsets_left, std::vector<packet::SequenceOffset>& offsets) override;
  void OnLeft(const HeldFrame& frame) override {}
  std::optional<Difference> OnStandby(absl::Duration now, const packet::Frame& parsed,
                                      absl::string_view contents) override;
  void OnEpochEnd() override;
  std::optional<absl::Duration> StandbyAloneSince() const override { return std::nullopt; }
  size_t standby_bytes() const override { return bytes_; }

 private:
  static constexpr size_t kFrameCost = 80;

  const Settings& settings_;
  absl::flat_hash_set<std::string> standby_;
  size_t bytes_ = 0;
};

}  // namespace romulus::comparison

#endif  // ROMULUS_PRIMARY_COMPARISON_NEIGHBOUR_COMPARISON_H_
