#ifndef ROMULUS_COMMON_PACKET_CONNECTION_H_
#define ROMULUS_COMMON_PACKET_CONNECTION_H_

#include <cstdint>
#include <string>
#include <utility>

#include "common/packet/frame.h"

namespace romulus::packet {

// A TCP connection of a guest, as one of its cards sees it. Replication stream: Connection.
struct Connection {
  uint32_t device_id = 0;
  Address guest;
  Address peer;
  uint16_t guest_port = 0;
  uint16_t peer_port = 0;

  bool operator==(const Connection&) const = default;
  template <typename H>
  friend H AbslHashValue(H state, const Connection& connection) {
    return H::combine(std::move(state), connection.device_id, connection.guest, connection.peer, connection.guest_port,
                      connection.peer_port);
  }
};
// "device 0, 10.0.0.2:80 and 10.0.0.9:51000".
std::string ToString(const Connection& connection);

// `parsed` is of TCP. By who sent it.
Connection ConnectionOfGuestFrame(uint32_t device_id, const Frame& parsed);
Connection ConnectionOfPeerFrame(uint32_t device_id, const Frame& parsed);

// Of a connection that both guests opened since the last checkpoint: the initial sequence number that each chose.
struct SequenceOffset {
  Connection connection;
  uint32_t primary_initial = 0;
  uint32_t standby_initial = 0;

  bool operator==(const SequenceOffset&) const = default;
};

}  // namespace romulus::packet

#endif  // ROMULUS_COMMON_PACKET_CONNECTION_H_
