#ifndef ROMULUS_NETBUF_REDIRECT_FILTER_H_
#define ROMULUS_NETBUF_REDIRECT_FILTER_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "netbuf/netlink_message.h"
#include "netbuf/netlink_socket.h"
#include "netbuf/network_link.h"

namespace romulus {

// The filter (matchall, all EtherTypes, action mirred egress redirect) that takes what a vif receives from its guest to
// an ifb, in an ingress qdisc of its own.

enum class Redirect {
  kNone,     // No ingress qdisc.
  kEmpty,    // An ingress qdisc without filters.
  kOurs,     // Our filter and no other.
  kForeign,  // Somebody else's filters.
};
// Ours carry a cookie in their action. `to_index`, if not null, gets the device that ours goes to; 0 if that is gone.
absl::StatusOr<Redirect> FindRedirect(NetlinkSocket& socket, const NetworkLink& vif, int* to_index = nullptr);

// From the moment the filter is in, every packet goes to `ifb`. FAILED_PRECONDITION if the kernel lacks a part, or if
// the vif has an ingress qdisc. An error leaves the vif as it was.
absl::Status AddRedirect(NetlinkSocket& socket, const NetworkLink& vif, const NetworkLink& ifb);

// The two halves of AddRedirect, and a matchall filter that does nothing: for finding out what the kernel lacks.
absl::Status AddIngress(NetlinkSocket& socket, const NetworkLink& vif);
absl::Status AddRedirectFilter(NetlinkSocket& socket, const NetworkLink& vif, const NetworkLink& ifb);
absl::Status TryMatchall(NetlinkSocket& socket, const NetworkLink& vif);

// Removes filter and qdisc, whatever is there of it. OK if the vif is gone.
absl::Status DeleteRedirect(NetlinkSocket& socket, const NetworkLink& vif);

// Fails with ENODEV or ENOENT where vif or filter is gone.
NetlinkMessage RedirectProbeRequest(const NetworkLink& vif);

}  // namespace romulus

#endif  // ROMULUS_NETBUF_REDIRECT_FILTER_H_
