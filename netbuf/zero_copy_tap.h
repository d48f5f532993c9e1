#ifndef ROMULUS_NETBUF_ZERO_COPY_TAP_H_
#define ROMULUS_NETBUF_ZERO_COPY_TAP_H_

#include <utility>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "netbuf/network_link.h"

namespace romulus {

// Makes the kernel copy what a guest sends at the moment that netback receives it.
//
// netback hands the guest's own pages on (drivers/net/xen-netback/netback.c, SKBFL_ZEROCOPY_ENABLE): all but the first
// 128 bytes of a packet stay in the guest until the packet has left, and each such page keeps one of the queue's 256
// slots (MAX_PENDING_REQS). A plug that holds the packets holds the slots, so the guest falls silent after about 240
// full-size packets in an epoch, 0.34 MB, whatever the buffer's limit is. The kernel copies such pages when it delivers
// a packet to a packet socket (net/core/dev.c: deliver_skb, skb_orphan_frags_rx), and delivers to those before tc's
// ingress, which redirects: a packet socket on the vif gives the slots back at once. Its filter accepts nothing, so
// nothing is queued to it.
//
// Open for as long as the object lives. Without it (its owner died) a guest is slower, and no less safe.
class ZeroCopyTap {
 public:
  // PERMISSION_DENIED without CAP_NET_RAW.
  static absl::StatusOr<ZeroCopyTap> Open(const NetworkLink& vif);

 private:
  explicit ZeroCopyTap(UniqueFd socket) : socket_(std::move(socket)) {}

  UniqueFd socket_;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_ZERO_COPY_TAP_H_
