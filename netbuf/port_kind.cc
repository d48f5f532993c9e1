#include "netbuf/port_kind.h"

#include "absl/strings/str_cat.h"

namespace romulus {

absl::Status CheckPortKind(const NetworkLink& vif) {
  if (vif.port_kind != "openvswitch") return absl::OkStatus();
  // netdev_linux_set_policing in its lib/netdev-linux.c.
  return absl::FailedPreconditionError(absl::StrCat(
      vif.name, " can't be buffered: it is a port of Open vSwitch, which removes the ingress qdisc of its ports, and ",
      "the redirection with it, whenever it is reconfigured (ovs-vsctl): what the guest sends would leave "
      "uncommitted. ",
      "Put the vif on a Linux bridge, and a veth between that and the Open vSwitch"));
}

}  // namespace romulus
