#ifndef ROMULUS_PRIMARY_COMPARISON_COMPARISON_TYPES_H_
#define ROMULUS_PRIMARY_COMPARISON_COMPARISON_TYPES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/packet/connection.h"

namespace romulus::comparison {

// Of a frame that the primary's guest sent; the caller chooses it.
using FrameId = uint64_t;

// All of them bounds of memory but the first. Past a bound: a difference, so a checkpoint, which empties what is kept;
// never a release.
struct Settings {
  // How long output may wait that only one guest has produced. After a checkpoint the standby's network interface has
  // to come up first, which takes 20 to 100 ms in the lab and more where the host is busy, and then it works off what
  // the primary's guest has been given meanwhile. With less than that, guests that only differ in their timing would be
  // called different, each checkpoint would bring the next one, and lockstep would never begin to pay. (QEMU's
  // colo-compare waits for 3 s.) Each further millisecond is one that a client waits for output that does differ.
  absl::Duration timeout = absl::Seconds(1);
  size_t flows_max = 4096;
  // What the standby has sent and the primary has not yet.
  size_t standby_bytes_per_flow_max = 1 << 20;
  size_t standby_bytes_max = 32 << 20;
  // Of TCP's bytes that have left, to know a retransmission by. Past it the oldest are forgotten: a retransmission of
  // them waits for the standby's.
  size_t history_bytes_per_flow_max = 128 << 10;
  size_t history_bytes_max = 16 << 20;
  // SequenceOffsets between two checkpoints: no more than the standby's translator keeps.
  uint32_t offsets_per_epoch_max = 16384;
};

enum class DifferenceReason {
  kContent,      // TCP: other bytes at the same place of the stream.
  kFlags,        // TCP: SYN, FIN or RST of one guest alone, or at another place.
  kOptions,      // TCP: the SYNs negotiate different things.
  kSequence,     // TCP: sequence numbers that have nothing to do with each other.
  kUrgent,       // TCP: urgent data, which are not compared.
  kPacket,       // UDP, ICMP, fragments, other IP: the flow's next packets are not the same.
  kPrimaryOnly,  // Only the primary's guest has sent it for Settings::timeout.
  kStandbyOnly,  // Only the standby has.
  kBound,        // More than is kept.
};
constexpr size_t kDifferenceReasons = 9;
// "content": for labels of metrics.
absl::string_view ToString(DifferenceReason reason);

struct Difference {
  DifferenceReason reason = DifferenceReason::kContent;
  std::string text;  // The flow and what differs, in words.
};

// What an event has made due. Offsets are to be given to the link before any frame of `release` is let go: so the
// standby knows how to translate before the remote end can answer.
struct Actions {
  std::vector<packet::SequenceOffset> offsets;
  std::vector<FrameId> release;  // In the order in which they are to leave.
  // Newly found: a flow is found different once per epoch, and nothing more of it is released until the next one. Other
  // flows go on: what both guests have produced stays so.
  std::vector<Difference> differences;
};

}  // namespace romulus::comparison

#endif  // ROMULUS_PRIMARY_COMPARISON_COMPARISON_TYPES_H_
