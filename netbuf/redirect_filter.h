#ifndef ROMULUS_NETBUF_REDIRECT_FILTER_H_
#define ROMULUS_NETBUF_REDIRECT_FILTER_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "netbuf/netlink_message.h"
#include "netbuf/netlink_socket.h"
#include "netbuf/network_link.h"
#include "netbuf/tc_rule.h"

namespace romulus {

// The filter that takes what a vif receives from its guest to an ifb. It sits in the vif's clsact qdisc, or in the
// ingress qdisc of an older host or agent: one that is there and has no filters of that hook is used and stays; else a
// clsact is made, and goes with the filter.

// What a vif has at its ingress hook.
struct FoundRedirect {
  bool classifier = false;     // A clsact or ingress qdisc, anybody's.
  bool ours = false;           // Our filter: it carries a cookie in its action.
  bool qdisc_is_ours = false;  // The qdisc was made together with our filter.
  bool foreign = false;        // Somebody else's filters.
  bool shared = false;         // Somebody else's filters, at either hook.
  bool tapped = false;         // Filters of a GuestTap (guest_tap.h): an agent's that lives, or died.
  int to_index = 0;            // The device that our filter redirects to; 0 if that is gone.
};
absl::StatusOr<FoundRedirect> FindRedirect(NetlinkSocket& socket, const NetworkLink& vif);

// From the moment the filter is in, every packet goes to `ifb`. Qdisc and filter are one system call: an owner who dies
// leaves both or neither. FAILED_PRECONDITION if the kernel lacks a part, or if somebody else classifies what the vif
// receives. An error leaves the vif as it was.
absl::Status AddRedirect(NetlinkSocket& socket, const NetworkLink& vif, const NetworkLink& ifb);

// What AddRedirect puts in.
TcRule RedirectRule(const NetworkLink& ifb, bool in_own_qdisc);

// Removes what AddRedirect made, given what FindRedirect found: our filter, and the qdisc if that is ours and nobody
// else's filters are in it by now. OK if the vif is gone.
absl::Status DeleteRedirect(NetlinkSocket& socket, const NetworkLink& vif, const FoundRedirect& found);

// Fails with ENODEV, ENOENT or EINVAL where vif, qdisc or filter is gone.
NetlinkMessage RedirectProbeRequest(const NetworkLink& vif);

}  // namespace romulus

#endif  // ROMULUS_NETBUF_REDIRECT_FILTER_H_
