#include "netbuf/zero_copy_tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

// Linux 4.20; not in every libc's headers.
#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

namespace romulus {
namespace {

absl::Status Failed(const NetworkLink& vif, const char* what) {
  const std::string text =
      absl::StrCat("a packet socket on ", vif.name, ": ", what, ": ", strerror(errno), " (errno ", errno, ")");
  if (errno == EPERM || errno == EACCES) {
    return absl::PermissionDeniedError(absl::StrCat(text, ": run as root or with CAP_NET_RAW"));
  }
  return errno == ENODEV || errno == ENXIO ? absl::UnavailableError(text) : absl::InternalError(text);
}

}  // namespace

absl::StatusOr<ZeroCopyTap> ZeroCopyTap::Open(const NetworkLink& vif) {
  // Of no protocol: deaf until it is bound, so that its filter is in place before the first packet.
  UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return Failed(vif, "opening it");
  sock_filter accept_nothing = {.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = 0};
  const sock_fprog filter = {.len = 1, .filter = &accept_nothing};
  if (setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) != 0) {
    return Failed(vif, "attaching its filter");
  }
  // Best effort: what goes to the guest need not come by.
  const int on = 1;
  setsockopt(socket.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on));
  const sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = vif.index};
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return Failed(vif, "binding it");
  }
  return ZeroCopyTap(std::move(socket));
}

}  // namespace romulus
