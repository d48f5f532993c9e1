#ifndef ROMULUS_NETBUF_FREE_IFB_H_
#define ROMULUS_NETBUF_FREE_IFB_H_

#include <optional>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "netbuf/netlink_socket.h"
#include "netbuf/network_link.h"

namespace romulus {

// An ifb of this host that nobody uses, of those that are not in `claimed`: down, without an alias, no port of another
// device, no qdisc on it, and no mirred action of the host leads to it. In the turn of IfbClaims, where it stays free
// until it is claimed. Nothing if there is none. The first by name: what a pool has most of is taken from its start, as
// Xen's script does.
absl::StatusOr<std::optional<NetworkLink>> FindFreeIfb(NetlinkSocket& socket, const std::set<std::string>& claimed);

}  // namespace romulus

#endif  // ROMULUS_NETBUF_FREE_IFB_H_
