#ifndef ROMULUS_PRIMARY_COMPARISON_TCP_COMPARISON_H_
#define ROMULUS_PRIMARY_COMPARISON_TCP_COMPARISON_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/packet/connection.h"
#include "common/packet/frame.h"
#include "primary/comparison/flow_comparison.h"
#include "primary/comparison/stream_bytes.h"

namespace romulus::comparison {

// One TCP connection, and those that follow it with the same addresses and ports, by stream content, however each guest
// cuts, times and repeats it. A segment of the primary's guest may leave once
//   - each byte in it has been sent by the standby at the same place of the stream, or has left before;
//   - its FIN, RST or SYN has been sent by the standby, too, at the same place, or has left before; a SYN's options
//     that both ends then rely on (MSS, window scale, SACK, timestamps) are the same;
//   - the standby has acknowledged at least as much since it runs, or as much has left as acknowledged before (a
//     checkpoint covers it): the remote end forgets what is acknowledged, so the survivor must have it.
// Windows, the values of timestamps, PSH, ECN, the IP header and checksums do not matter. Urgent data is not compared.
//
// Sequence numbers of a connection that both guests opened since the last checkpoint are counted from each guest's own
// initial number. The primary's SYN waits for the standby's; then the SequenceOffset goes out, then the SYN.
//
// All numbers are the primary's, unwrapped to 64 bits around where the stream is.
//
// Where QEMU's colo-compare fails, as its source has it: it releases every segment without payload, so also SYN, FIN,
// RST and pure acknowledgements, unlooked at as soon as the standby has sent anything; it releases segments that are
// cut alike without looking at what they acknowledge; a retransmission, or a segment that a capture lost, is a
// difference or a wrong offset; and a full queue drops the guest's packet without a word.
class TcpComparison : public FlowComparison {
 public:
  TcpComparison(const Settings& settings, const packet::Connection& connection);

  Verdict Judge(const HeldFrame& frame, uint32_t offsets_left, std::vector<packet::SequenceOffset>& offsets) override;
  void OnLeft(const HeldFrame& frame) override;
  std::optional<Difference> OnStandby(absl::Duration now, const packet::Frame& parsed,
                                      absl::string_view contents) override;
  void OnEpochEnd() override;
  std::optional<absl::Duration> StandbyAloneSince() const override;
  size_t standby_bytes() const override { return standby_.cost() + waiting_bytes_; }
  size_t history_bytes() const override { return history_.cost(); }
  void ForgetHistory() override { history_.Clear(); }

 private:
  // Sent by the standby.
  struct Segment {
    packet::TcpHeader header;
    std::string payload;
    absl::Duration came;
  };
  struct Rst {
    uint32_t sequence = 0;  // The primary's number.
    absl::Duration came;
  };
  // A SYN that the primary's guest sent and that has left, or is next to leave.
  struct Syn {
    uint32_t initial = 0;
    uint8_t flags = 0;
    uint32_t acknowledgement = 0;

    bool operator==(const Syn&) const = default;
  };
  static constexpr size_t kSegmentCost = sizeof(Segment) + 32;
  static constexpr size_t kRstsMax = 8;

  static Syn SynOf(const packet::TcpHeader& header);

  int64_t Unwrap(uint32_t sequence) const;
  bool IsNear(uint32_t sequence) const;
  // Where a segment's first byte is.
  int64_t PayloadAt(const packet::TcpHeader& header) const;
  void MoveTo(int64_t position);

  // A new connection with the same addresses and ports.
  void StartAnew(const Syn& syn, uint32_t standby_initial);
  std::optional<Difference> Take(const Segment& segment);
  std::optional<Difference> TakePayload(const Segment& segment);
  Verdict JudgeSyn(const HeldFrame& frame, uint32_t offsets_left, std::vector<packet::SequenceOffset>& offsets);
  Verdict JudgeStream(const HeldFrame& frame);
  Match ComparePayload(int64_t position, absl::string_view payload) const;
  // As StandbyAloneSince, without what waits for the next connection.
  std::optional<absl::Duration> PresentAloneSince() const;
  bool Acknowledged(const packet::TcpHeader& header) const;
  bool StandbyAcknowledged(uint32_t acknowledgement) const;
  bool RstLeft(uint32_t sequence) const;

  const Settings& settings_;
  const packet::Connection connection_;

  std::optional<int64_t> position_;  // Where the stream is, about.

  // Of the primary's guest: what has left.
  std::optional<Syn> syn_;
  std::optional<uint32_t> left_acknowledgement_;
  std::optional<int64_t> left_end_;
  std::optional<int64_t> left_fin_;
  std::deque<uint32_t> left_rsts_;
  RecentBytes history_;

  // Of the standby, since it runs.
  uint32_t delta_ = 0;                       // The standby's numbers are so much larger.
  std::optional<uint32_t> standby_initial_;  // Its own number.
  StreamBytes standby_;
  std::optional<uint32_t> standby_acknowledgement_;
  std::optional<int64_t> standby_fin_;
  absl::Duration standby_fin_came_;
  std::vector<Rst> standby_rsts_;
  // From its SYN of the next connection on: it has to wait until the primary's guest sends its own.
  std::deque<Segment> waiting_;
  size_t waiting_bytes_ = 0;
};

}  // namespace romulus::comparison

#endif  // ROMULUS_PRIMARY_COMPARISON_TCP_COMPARISON_H_
