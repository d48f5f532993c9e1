#ifndef ROMULUS_PRIMARY_COMPARISON_FLOW_COMPARISON_H_
#define ROMULUS_PRIMARY_COMPARISON_FLOW_COMPARISON_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/packet/connection.h"
#include "common/packet/frame.h"
#include "primary/comparison/comparison_types.h"

namespace romulus::comparison {

// Of the primary's guest, not left yet.
struct HeldFrame {
  FrameId id = 0;
  absl::Duration came;
  bool ended = false;  // Its epoch has ended: it leaves by commit, and nothing of its flow before it.
  std::shared_ptr<const std::string> contents;
  packet::Frame parsed;
};

// What is to become of a flow's oldest held frame.
struct Verdict {
  enum class Kind { kLeaves, kWaits, kDiffers };
  Kind kind = Kind::kWaits;
  Difference difference;  // With kDiffers. The flow's name is put in front of its text.

  static Verdict Leaves() { return {Kind::kLeaves, {}}; }
  static Verdict Waits() { return {Kind::kWaits, {}}; }
  static Verdict Differs(DifferenceReason reason, std::string text) {
    return {Kind::kDiffers, {reason, std::move(text)}};
  }
};

// The seam for one flow's protocol: what the standby has sent of it since it runs, and what has left. OutputComparison
// keeps the queue of held frames, the epochs and the timeout.
class FlowComparison {
 public:
  virtual ~FlowComparison() = default;

  // Of the oldest held frame, while the standby runs; again whenever something has changed. After kLeaves it does
  // leave: OnLeft follows. What it asks to be sent before is appended to `offsets`, of which `offsets_left` are
  // allowed.
  virtual Verdict Judge(const HeldFrame& frame, uint32_t offsets_left,
                        std::vector<packet::SequenceOffset>& offsets) = 0;
  // It has left: after kLeaves, or by commit.
  virtual void OnLeft(const HeldFrame& frame) = 0;
  // The standby sent it. The difference that it makes at once, if any; then the flow is asked nothing more until
  // OnEpochEnd.
  virtual std::optional<Difference> OnStandby(absl::Duration now, const packet::Frame& parsed,
                                              absl::string_view contents) = 0;
  // All that the standby sent is void, and at the next run both guests are the same.
  virtual void OnEpochEnd() = 0;

  // Since when there is output of the standby that the primary's guest has not sent. Nullopt: there is none.
  virtual std::optional<absl::Duration> StandbyAloneSince() const = 0;

  virtual size_t standby_bytes() const = 0;
  virtual size_t history_bytes() const { return 0; }
  virtual void ForgetHistory() {}
};

// By the flow's protocol.
std::unique_ptr<FlowComparison> NewFlowComparison(const Settings& settings, uint32_t device_id,
                                                  const packet::Frame& parsed);

}  // namespace romulus::comparison

#endif  // ROMULUS_PRIMARY_COMPARISON_FLOW_COMPARISON_H_
