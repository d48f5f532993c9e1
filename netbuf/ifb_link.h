#ifndef ROMULUS_NETBUF_IFB_LINK_H_
#define ROMULUS_NETBUF_IFB_LINK_H_

#include <cstddef>
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

// "ifb-d<domid>-<devid>"; with an "e" behind it for an emulated card's.
std::string IfbName(const Vif& vif);
// The reverse; nothing if it is not such a name. The vif's own name is left empty.
std::optional<Vif> ParseIfbName(const std::string& name);

// Whose it is, written into the device's alias: "romulus:<protection>:<vif>" where Romulus created it, and
// "romulus-adopted:<domid>-<record name>:<MTU>:<queue length>:<protection>:<vif>" where it was there, free, before.
struct IfbMark {
  // How an adopted one was found, and will be given back.
  struct Before {
    uint32_t mtu = 0;
    uint32_t transmit_queue_length = 0;
  };

  std::string protection;
  Vif vif;  // Its ids are in the name of one that Romulus created, in the mark of another.
  std::optional<Before> adopted;
};
std::string FormatIfbMark(const IfbMark& mark);
inline constexpr size_t kIfbMarkBytesMax = 255;  // IFALIASZ - 1
// Of the device's alias and name; nothing if it is not Romulus'.
std::optional<IfbMark> ReadIfbMark(const NetworkLink& link);

// Whether Romulus created it, whether or not it lived to write the mark.
bool IsRomulusIfb(const NetworkLink& link);

// Creates it, down, with the MTU of `vif_link`. FAILED_PRECONDITION if the kernel has no ifb, RESOURCE_EXHAUSTED if it
// has no room for one more device.
absl::StatusOr<NetworkLink> CreateIfb(NetlinkSocket& socket, const std::string& name, const std::string& alias,
                                      const NetworkLink& vif_link);
// Marks a free one, which is down, and gives it the MTU of `vif_link`. `mark.adopted` is filled in.
absl::StatusOr<NetworkLink> AdoptIfb(NetlinkSocket& socket, const NetworkLink& free_ifb, IfbMark mark,
                                     const NetworkLink& vif_link);
// The reverse: down, without a qdisc, as it was before, and no mark last. One system call: an owner who dies has done
// all of it or nothing. OK if it is gone.
absl::Status GiveIfbBack(NetlinkSocket& socket, const NetworkLink& ifb, const IfbMark::Before& before);
absl::Status SetUp(NetlinkSocket& socket, const NetworkLink& link);
// With its qdisc and what that holds. OK if it is gone.
absl::Status DeleteLink(NetlinkSocket& socket, const NetworkLink& link);

}  // namespace romulus

#endif  // ROMULUS_NETBUF_IFB_LINK_H_
