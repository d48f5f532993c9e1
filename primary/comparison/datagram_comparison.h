#ifndef ROMULUS_PRIMARY_COMPARISON_DATAGRAM_COMPARISON_H_
#define ROMULUS_PRIMARY_COMPARISON_DATAGRAM_COMPARISON_H_

#include <deque>

#include "primary/comparison/flow_comparison.h"

namespace romulus::comparison {

// UDP, ICMP, IP fragments and other IP: a flow's packets, one by one, in order. Equal is what follows the IP headers;
// not compared are those (but for addresses and protocol, which make the flow, and a fragment's place), the checksums
// of UDP and ICMP, which may be partial, and padding.
//
// colo-compare takes a packet from anywhere in the other guest's queue, so it lets guests reorder what they send.
class DatagramComparison : public FlowComparison {
 public:
  explicit DatagramComparison(const Settings& settings) : settings_(settings) {}

  Verdict Judge(const HeldFrame& frame, uint32_t offsets_left, std::vector<packet::SequenceOffset>& offsets) override;
  void OnLeft(const HeldFrame& frame) override {}
  std::optional<Difference> OnStandby(absl::Duration now, const packet::Frame& parsed,
                                      absl::string_view contents) override;
  void OnEpochEnd() override;
  std::optional<absl::Duration> StandbyAloneSince() const override;
  size_t standby_bytes() const override { return bytes_; }

 private:
  struct Datagram {
    std::string contents;
    packet::Frame parsed;
    absl::Duration came;
  };
  static constexpr size_t kDatagramCost = sizeof(Datagram) + 32;

  const Settings& settings_;
  std::deque<Datagram> standby_;
  size_t bytes_ = 0;
};

}  // namespace romulus::comparison

#endif  // ROMULUS_PRIMARY_COMPARISON_DATAGRAM_COMPARISON_H_
