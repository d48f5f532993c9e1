#ifndef ROMULUS_NETBUF_IFB_LINK_H_
#define ROMULUS_NETBUF_IFB_LINK_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "netbuf/netlink_socket.h"
#include "netbuf/network_link.h"
#include "netbuf/vif.h"

namespace romulus {

// The device (drivers/net/ifb.c) that a vif's packets are redirected to, and that puts them back into the vif's receive
// path when its qdisc lets them go.

// "ifb-d<domid>-<devid>".
std::string IfbName(const Vif& vif);
// The reverse; nothing if it is not such a name. The vif's own name is left empty.
std::optional<Vif> ParseIfbName(const std::string& name);

// Whose it is, written into the device's alias: "romulus:<protection>:<vif>".
struct IfbMark {
  std::string protection;
  std::string vif;
};
std::string FormatIfbMark(const IfbMark& mark);
std::optional<IfbMark> ParseIfbMark(const std::string& alias);

// Whether Romulus created it, whether or not it lived to write the mark.
bool IsRomulusIfb(const NetworkLink& link);

// Creates it, down, with the MTU of `vif_link`. FAILED_PRECONDITION if the kernel has no ifb.
absl::StatusOr<NetworkLink> CreateIfb(NetlinkSocket& socket, const std::string& name, const std::string& alias,
                                      const NetworkLink& vif_link);
absl::Status SetUp(NetlinkSocket& socket, const NetworkLink& link);
// With its qdisc and what that holds. OK if it is gone.
absl::Status DeleteLink(NetlinkSocket& socket, const NetworkLink& link);

}  // namespace romulus

#endif  // ROMULUS_NETBUF_IFB_LINK_H_
