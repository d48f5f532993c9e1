#ifndef ROMULUS_NETBUF_PLUG_QDISC_H_
#define ROMULUS_NETBUF_PLUG_QDISC_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "netbuf/netlink_message.h"
#include "netbuf/netlink_socket.h"
#include "netbuf/network_link.h"
#include "netbuf/plug_kernel.h"

namespace romulus {

// The plug qdisc (net/sched/sch_plug.c) at the root of an ifb.

// It lets all pass. FAILED_PRECONDITION if the kernel has no plug.
absl::Status AddPassingPlug(NetlinkSocket& socket, const NetworkLink& ifb, uint32_t limit_bytes);

// A fresh one, plugged and empty, takes the old one's place, and what that holds is dropped. While the kernel swaps
// (qdisc_graft under the rtnl lock, the device's queue deactivated), noop stands in and drops: nothing leaves.
absl::Status ReplacePlug(NetlinkSocket& socket, const NetworkLink& ifb, uint32_t limit_bytes);

// Of a plug that is in place; what it holds stays, even if that is more.
absl::Status SetPlugLimit(NetlinkSocket& socket, const NetworkLink& ifb, uint32_t limit_bytes);

NetlinkMessage PlugCommandRequest(const NetworkLink& ifb, PlugCommand command);

// NOT_FOUND if the device's root is no plug.
absl::StatusOr<PlugKernel::Statistics> ReadPlug(NetlinkSocket& socket, const NetworkLink& ifb);

}  // namespace romulus

#endif  // ROMULUS_NETBUF_PLUG_QDISC_H_
