#ifndef ROMULUS_NETBUF_REDIRECT_FILTER_H_
#define ROMULUS_NETBUF_REDIRECT_FILTER_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "netbuf/netlink_message.h"
#include "netbuf/netlink_socket.h"
#include "netbuf/network_link.h"

namespace romulus {

// The filter (matchall, all EtherTypes, action mirred egress redirect) that takes what a vif receives from its guest to
// an ifb. It sits in the vif's ingress qdisc: one that is there and empty is used and stays; else one is made, and goes
// with the filter. The kernel drops what comes *to* the guest while an ingress qdisc comes or goes (README.md); a
// filter comes and goes without a loss.

// What a vif has at its ingress.
struct FoundRedirect {
  bool ingress = false;        // An ingress qdisc, anybody's.
  bool ours = false;           // Our filter: it carries a cookie in its action.
  bool qdisc_is_ours = false;  // The qdisc was made together with our filter.
  bool foreign = false;        // Somebody else's filters.
  int to_index = 0;            // The device that our filter redirects to; 0 if that is gone.
};
absl::StatusOr<FoundRedirect> FindRedirect(NetlinkSocket& socket, const NetworkLink& vif);

// From the moment the filter is in, every packet goes to `ifb`. Qdisc and filter are one system call: an owner who dies
// leaves both or neither. FAILED_PRECONDITION if the kernel lacks a part, or if somebody else classifies what the vif
// receives. An error leaves the vif as it was.
absl::Status AddRedirect(NetlinkSocket& socket, const NetworkLink& vif, const NetworkLink& ifb);

// The parts of it, and a matchall filter that does nothing: for finding out what the kernel lacks.
absl::Status AddIngress(NetlinkSocket& socket, const NetworkLink& vif);
absl::Status AddRedirectFilter(NetlinkSocket& socket, const NetworkLink& vif, const NetworkLink& ifb);
absl::Status TryMatchall(NetlinkSocket& socket, const NetworkLink& vif);

// Removes what AddRedirect made, given what FindRedirect found: our filter, and the qdisc if that is ours and nobody
// else's filters are in it by now. OK if the vif is gone.
absl::Status DeleteRedirect(NetlinkSocket& socket, const NetworkLink& vif, const FoundRedirect& found);

// Fails with ENODEV or ENOENT where vif or filter is gone.
NetlinkMessage RedirectProbeRequest(const NetworkLink& vif);

}  // namespace romulus

#endif  // ROMULUS_NETBUF_REDIRECT_FILTER_H_
