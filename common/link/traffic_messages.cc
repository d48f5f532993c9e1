#include "common/link/traffic_messages.h"

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

constexpr uint32_t kPortMax = 65535;

}  // namespace

absl::Status CheckTraffic(const google::protobuf::RepeatedPtrField<replication::v1::Frame>& frames) {
  if (frames.empty() || frames.size() > kTrafficFramesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("traffic: ", frames.size(), " frames in a message, allowed are 1 to ", kTrafficFramesMax));
  }
  size_t bytes = 0;
  for (const replication::v1::Frame& frame : frames) {
    const size_t size = frame.contents().size();
    bytes += size;
    if (size == 0 || size > kTrafficFrameBytesMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("traffic: a frame of ", size, " bytes, allowed are 1 to ", kTrafficFrameBytesMax));
    }
  }
  if (frames.size() > 1 && bytes > kTrafficBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("traffic: ", bytes, " bytes in a message, allowed are ", kTrafficBytesMax));
  }
  return absl::OkStatus();
}

replication::v1::SequenceOffset ToMessage(uint64_t epoch, const packet::SequenceOffset& offset) {
  replication::v1::SequenceOffset message;
  message.set_epoch(epoch);
  replication::v1::Connection& connection = *message.mutable_connection();
  connection.set_guest_address(std::string(packet::BytesOf(offset.connection.guest)));
  connection.set_peer_address(std::string(packet::BytesOf(offset.connection.peer)));
  connection.set_guest_port(offset.connection.guest_port);
  connection.set_peer_port(offset.connection.peer_port);
  connection.set_device_id(offset.connection.device_id);
  message.set_primary_initial(offset.primary_initial);
  message.set_standby_initial(offset.standby_initial);
  return message;
}

absl::StatusOr<packet::SequenceOffset> FromMessage(const replication::v1::SequenceOffset& message) {
  const replication::v1::Connection& connection = message.connection();
  packet::SequenceOffset offset;
  offset.connection.guest = packet::AddressFrom(connection.guest_address());
  offset.connection.peer = packet::AddressFrom(connection.peer_address());
  if (offset.connection.guest.size == 0 || offset.connection.guest.size != offset.connection.peer.size) {
    return absl::InvalidArgumentError(absl::StrCat("SequenceOffset: addresses of ", connection.guest_address().size(),
                                                   " and ", connection.peer_address().size(),
                                                   " bytes, expected are 4 or 16, both the same"));
  }
  if (connection.guest_port() > kPortMax || connection.peer_port() > kPortMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("SequenceOffset: ports ", connection.guest_port(), " and ", connection.peer_port()));
  }
  offset.connection.guest_port = static_cast<uint16_t>(connection.guest_port());
  offset.connection.peer_port = static_cast<uint16_t>(connection.peer_port());
  offset.connection.device_id = connection.device_id();
  offset.primary_initial = message.primary_initial();
  offset.standby_initial = message.standby_initial();
  return offset;
}

}  // namespace romulus
