#ifndef ROMULUS_PRIMARY_COMPARISON_DATAGRAM_COMPARISON_H_
#define ROMULUS_PRIMARY_COMPARISON_DATAGRAM_COMPARISON_H_

#include <cstddef>
#include <deque>
#include <optional>
#include <string>

#include "primary/comparison/flow_comparison.h"

namespace romulus::comparison {

// UDP, ICMP, IP fragments and other IP: a flow's packets, one by one, in order. Equal is what follows the IP headers;
// not compared are those (but for addresses and protocol, which make the flow, and a fragment's place), the checksums
// of UDP and ICMP, which may be partial, and padding.
//
// The standby may begin with packets that have left already: what the guest's network card had taken and not yet
// acknowledged to it when the checkpoint was taken, the standby's card takes again. They are the last ones before the
// checkpoint, in order, and are passed over.
//
// colo-compare takes a packet from anywhere in the other guest's queue, so it lets guests reorder what they send.
class DatagramComparison : public FlowComparison {
 public:
  explicit DatagramComparison(const Settings& settings) : settings_(settings) {}

  Verdict Judge(const HeldFrame& frame, uint32_t offsets_left, std::vector<packet::SequenceOffset>& offsets) override;
  void OnLeft(const HeldFrame& frame) override;
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
  // Of the packets that left last. A card that is more behind makes a difference.
  static constexpr size_t kLeftMax = 32;

  // Whether it is one of `left_` from `from` on: then `from` is behind it.
  bool IsRepeat(const Datagram& datagram, size_t& from) const;

  const Settings& settings_;
  std::deque<size_t> left_;  // Hashes.
  // How far in left_ the standby has come with repeats. Nullopt: it is past them; before that nothing leaves in a run,
  // so left_ is what left before the run.
  std::optional<size_t> repeated_ = 0;
  std::deque<Datagram> standby_;
  size_t bytes_ = 0;
};

}  // namespace romulus::comparison

#endif  // ROMULUS_PRIMARY_COMPARISON_DATAGRAM_COMPARISON_H_
