#include "primary/comparison/flow_key.h"

#include "absl/strings/str_cat.h"
#include "common/packet/connection.h"

namespace romulus::comparison {

using packet::Kind;

FlowKey FlowKeyOf(uint32_t device_id, const packet::Frame& parsed) {
  FlowKey key{.device_id = device_id, .kind = parsed.kind, .ether_type = parsed.ether_type};
  const bool is_ip = parsed.protocol != 0 || parsed.kind == Kind::kIpOther || parsed.kind == Kind::kFragment;
  switch (parsed.kind) {
    case Kind::kOther:
    case Kind::kMalformed:
      return key;
    case Kind::kNeighbour:
      key.peer = parsed.destination;
      if (!is_ip) return key;
      break;
    case Kind::kTcp:
    case Kind::kUdp:
      key.guest_port = parsed.source_port;
      key.peer_port = parsed.destination_port;
      break;
    case Kind::kIcmp:
    case Kind::kFragment:
    case Kind::kIpOther:
      break;
  }
  key.protocol = parsed.protocol;
  key.guest = parsed.source;
  key.peer = parsed.destination;
  if (parsed.kind == Kind::kIcmp || parsed.kind == Kind::kNeighbour) {
    key.guest_port = parsed.icmp_type;
    key.peer_port = parsed.icmp_id;
  }
  return key;
}

std::string ToString(const FlowKey& key) {
  switch (key.kind) {
    case Kind::kTcp:
    case Kind::kUdp:
      return absl::StrCat(
          packet::ToString(key.kind), ", ",
          packet::ToString(packet::Connection{key.device_id, key.guest, key.peer, key.guest_port, key.peer_port}));
    case Kind::kOther:
    case Kind::kMalformed:
      return absl::StrCat(packet::ToString(key.kind), ", device ", key.device_id, ", ethertype 0x",
                          absl::Hex(key.ether_type, absl::kZeroPad4));
    default:
      return absl::StrCat(packet::ToString(key.kind), ", device ", key.device_id, ", to ", packet::ToString(key.peer));
  }
}

}  // namespace romulus::comparison
