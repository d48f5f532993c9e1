#ifndef ROMULUS_NETBUF_NETWORK_LINK_H_
#define ROMULUS_NETBUF_NETWORK_LINK_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "netbuf/netlink_socket.h"

namespace romulus {

// A network device of this host.
struct NetworkLink {
  int index = 0;
  std::string name;
  std::string kind;     // "ifb", "veth"; empty for a physical card.
  std::string alias;    // IFLA_IFALIAS.
  std::string address;  // Its MAC address, six bytes.
  bool up = false;
  int master = 0;         // Index of the bridge, bond... that it is a port of.
  std::string port_kind;  // Of what it is a port: "bridge", "openvswitch"; empty: of nothing.
  uint32_t mtu = 0;
  uint32_t transmit_queue_length = 0;
  uint64_t received_packets = 0;
  uint64_t received_dropped = 0;
  uint64_t transmitted_packets = 0;
  uint64_t transmitted_dropped = 0;
};

// Nothing if there is no device of that name.
absl::StatusOr<std::optional<NetworkLink>> FindLink(NetlinkSocket& socket, const std::string& name);

absl::StatusOr<std::vector<NetworkLink>> ListLinks(NetlinkSocket& socket);

}  // namespace romulus

#endif  // ROMULUS_NETBUF_NETWORK_LINK_H_
