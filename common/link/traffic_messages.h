#ifndef ROMULUS_COMMON_LINK_TRAFFIC_MESSAGES_H_
#define ROMULUS_COMMON_LINK_TRAFFIC_MESSAGES_H_

#include <google/protobuf/repeated_field.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/packet/connection.h"
#include "proto/replication/v1/replication.pb.h"

namespace romulus {

// The guests' frames and what belongs to them, in StandbyInput, StandbyOutput and SequenceOffset. Pure.

// A frame that entered or left a vif of a guest: from its Ethernet header on, its checksums complete.
struct TrafficFrame {
  uint32_t device_id = 0;
  std::string contents;
};

constexpr int kTrafficFramesMax = 64;               // In one message.
constexpr size_t kTrafficBytesMax = 256 << 10;      // In one message of more than one frame.
constexpr size_t kTrafficFrameBytesMax = 66 << 10;  // A TCP segment of 64 KiB, and its headers.

// Moves the frames at the front of `frames` to `to`, as many as one message takes; false: there are none left.
template <typename Frames>
bool TakeTraffic(Frames& frames, google::protobuf::RepeatedPtrField<replication::v1::Frame>* to) {
  if (frames.empty()) return false;
  size_t bytes = 0;
  size_t count = 0;
  for (auto& frame : frames) {
    const size_t size = frame.contents.size();
    if (to->size() == kTrafficFramesMax || (count > 0 && bytes + size > kTrafficBytesMax)) break;
    bytes += size;
    ++count;
    replication::v1::Frame& added = *to->Add();
    added.set_device_id(frame.device_id);
    added.set_contents(std::move(frame.contents));
  }
  frames.erase(frames.begin(), frames.begin() + static_cast<std::ptrdiff_t>(count));
  return true;
}

// INVALID_ARGUMENT: more or larger frames than a message may have, or none.
absl::Status CheckTraffic(const google::protobuf::RepeatedPtrField<replication::v1::Frame>& frames);

replication::v1::SequenceOffset ToMessage(uint64_t epoch, const packet::SequenceOffset& offset);
// INVALID_ARGUMENT: addresses of different or unknown kinds, ports out of range.
absl::StatusOr<packet::SequenceOffset> FromMessage(const replication::v1::SequenceOffset& message);

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_TRAFFIC_MESSAGES_H_
