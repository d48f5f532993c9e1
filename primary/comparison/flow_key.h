#ifndef ROMULUS_PRIMARY_COMPARISON_FLOW_KEY_H_
#define ROMULUS_PRIMARY_COMPARISON_FLOW_KEY_H_

#include <cstdint>
#include <string>
#include <utility>

#include "common/packet/frame.h"

namespace romulus::comparison {

// What keeps its order: frames with equal keys. Of frames that a guest sent.
//   TCP, UDP         addresses and ports
//   ICMP             addresses, type and echo id
//   IP fragments     addresses and protocol: not the ports, which only a packet's first fragment has
//   other IP         addresses and protocol
//   ARP              the address that is asked for, or told of
//   ND, MLD, IGMP    addresses and type
//   other frames     their ethertype
struct FlowKey {
  uint32_t device_id = 0;
  packet::Kind kind = packet::Kind::kOther;
  uint16_t ether_type = 0;
  uint8_t protocol = 0;
  packet::Address guest;
  packet::Address peer;
  uint16_t guest_port = 0;  // Of ICMP the type.
  uint16_t peer_port = 0;   // Of ICMP the echo id.

  bool operator==(const FlowKey&) const = default;
  template <typename H>
  friend H AbslHashValue(H state, const FlowKey& key) {
    return H::combine(std::move(state), key.device_id, key.kind, key.ether_type, key.protocol, key.guest, key.peer,
                      key.guest_port, key.peer_port);
  }
};
FlowKey FlowKeyOf(uint32_t device_id, const packet::Frame& parsed);
std::string ToString(const FlowKey& key);

}  // namespace romulus::comparison

#endif  // ROMULUS_PRIMARY_COMPARISON_FLOW_KEY_H_
