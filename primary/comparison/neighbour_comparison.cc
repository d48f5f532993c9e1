#include "primary/comparison/neighbour_comparison.h"

namespace romulus::comparison {
namespace {

absl::string_view Compared(const packet::Frame& parsed, absl::string_view contents) {
  // Of IP the addresses make the flow.
  const size_t from = parsed.protocol != 0 ? parsed.transport_at : 0;
  return contents.substr(from, parsed.end - from);
}

}  // namespace

Verdict NeighbourComparison::Judge(const HeldFrame& frame, uint32_t, std::vector<packet::SequenceOffset>&) {
  return standby_.contains(Compared(frame.parsed, *frame.contents)) ? Verdict::Leaves() : Verdict::Waits();
}

// Past the bound further ones are forgotten: what the primary's guest sends of them waits.
std::optional<Difference> NeighbourComparison::OnStandby(absl::Duration, const packet::Frame& parsed,
                                                         absl::string_view contents) {
  const absl::string_view compared = Compared(parsed, contents);
  const size_t cost = compared.size() + kFrameCost;
  if (bytes_ + cost > settings_.standby_bytes_per_flow_max) return std::nullopt;
  if (standby_.emplace(compared).second) bytes_ += cost;
  return std::nullopt;
}

void NeighbourComparison::OnEpochEnd() {
  standby_.clear();
  bytes_ = 0;
}

}  // namespace romulus::comparison
