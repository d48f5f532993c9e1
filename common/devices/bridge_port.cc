#include "common/devices/bridge_port.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/neighbour.h>
#include <linux/pkt_sched.h>
#include <net/if.h>
#include <netlink/addr.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/tc.h>
#include <netlink/socket.h>
#include <stdio.h>
#include <sys/socket.h>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

struct NetlinkDeleter {
  void operator()(rtnl_link* link) const { rtnl_link_put(link); }
  void operator()(rtnl_neigh* neighbour) const { rtnl_neigh_put(neighbour); }
  void operator()(rtnl_qdisc* qdisc) const { rtnl_qdisc_put(qdisc); }
  void operator()(nl_addr* address) const { nl_addr_put(address); }
};
using Link = std::unique_ptr<rtnl_link, NetlinkDeleter>;
using Neighbour = std::unique_ptr<rtnl_neigh, NetlinkDeleter>;
using Qdisc = std::unique_ptr<rtnl_qdisc, NetlinkDeleter>;
using Address = std::unique_ptr<nl_addr, NetlinkDeleter>;

// The numerically largest non-broadcast address: a bridge takes the lowest of its ports' for its own.
constexpr char kPortAddress[] = "fe:ff:ff:ff:ff:ff";

absl::Status NetlinkError(const std::string& what, int error) {
  const std::string text = absl::StrCat(what, ": ", nl_geterror(error), " (netlink ", error, ")");
  switch (-error) {
    case NLE_NODEV:
    case NLE_OBJ_NOTFOUND:
      return absl::NotFoundError(text);
    case NLE_EXIST:
      return absl::AlreadyExistsError(text);
    case NLE_PERM:
    case NLE_NOACCESS:
      return absl::PermissionDeniedError(text);
    default:
      return absl::InternalError(text);
  }
}

absl::StatusOr<Link> GetLink(nl_sock* socket, const std::string& name) {
  rtnl_link* link = nullptr;
  const int error = rtnl_link_get_kernel(socket, 0, name.c_str(), &link);
  if (error < 0) return NetlinkError(absl::StrCat("can't find network interface ", name), error);
  return Link(link);
}

absl::StatusOr<Address> ParseMac(const std::string& text) {
  nl_addr* address = nullptr;
  const int error = nl_addr_parse(text.c_str(), AF_LLC, &address);
  if (error < 0) return absl::InvalidArgumentError(absl::StrCat("'", text, "' is no MAC address"));
  return Address(address);
}

}  // namespace

absl::StatusOr<std::unique_ptr<BridgePorts>> BridgePorts::Open() {
  nl_sock* socket = nl_socket_alloc();
  if (socket == nullptr) return absl::ResourceExhaustedError("no memory for a netlink socket");
  std::unique_ptr<BridgePorts> ports(new BridgePorts(socket));
  const int error = nl_connect(socket, NETLINK_ROUTE);
  if (error < 0) return NetlinkError("can't open a netlink socket", error);
  return ports;
}

BridgePorts::~BridgePorts() { nl_socket_free(socket_); }

absl::StatusOr<BridgePorts::Port> BridgePorts::Join(const std::string& interface, const std::string& name,
                                                    const std::string& bridge, uint32_t mtu) {
  absl::StatusOr<Link> port = GetLink(socket_, interface);
  if (!port.ok()) return port.status();
  absl::StatusOr<Link> master = GetLink(socket_, bridge);
  if (absl::IsNotFound(master.status())) {
    return absl::FailedPreconditionError(
        absl::StrCat("the guest's bridge ", bridge, " does not exist on this host: create it"));
  }
  if (!master.ok()) return master.status();
  if (mtu == 0) mtu = rtnl_link_get_mtu(master->get());

  const Link change(rtnl_link_alloc());
  rtnl_link_set_ifindex(change.get(), rtnl_link_get_ifindex(port->get()));
  if (name != interface) rtnl_link_set_name(change.get(), name.c_str());
  const absl::StatusOr<Address> address = ParseMac(kPortAddress);
  if (!address.ok()) return address.status();
  rtnl_link_set_addr(change.get(), address->get());
  rtnl_link_set_mtu(change.get(), mtu);
  rtnl_link_set_master(change.get(), rtnl_link_get_ifindex(master->get()));
  rtnl_link_set_flags(change.get(), IFF_UP);
  const int error = rtnl_link_change(socket_, port->get(), change.get(), 0);
  if (error < 0) {
    return NetlinkError(absl::StrCat("can't make ", interface, " the port ", name, " of bridge ", bridge), error);
  }
  return Port{rtnl_link_get_ifindex(port->get()), mtu};
}

absl::Status BridgePorts::Leave(int interface_index) {
  rtnl_link* found = nullptr;
  int error = rtnl_link_get_kernel(socket_, interface_index, nullptr, &found);
  if (error < 0) return NetlinkError(absl::StrCat("can't find the interface with index ", interface_index), error);
  const Link port(found);
  if (rtnl_link_get_master(port.get()) == 0) {
    return absl::FailedPreconditionError(absl::StrCat(rtnl_link_get_name(port.get()), " is in no bridge"));
  }
  // Before it is a port no more: the kernel gives such an interface an IPv6 address at once.
  const std::string setting = absl::StrCat("/proc/sys/net/ipv6/conf/", rtnl_link_get_name(port.get()), "/disable_ipv6");
  if (FILE* const file = fopen(setting.c_str(), "w"); file != nullptr) {
    const bool written = fputs("1", file) >= 0;
    if (fclose(file) != 0 || !written) return absl::InternalError(absl::StrCat("can't write ", setting));
  } else if (errno != ENOENT) {  // No such setting: no IPv6.
    return absl::InternalError(absl::StrCat("can't write ", setting, ": errno ", errno));
  }
  const Link change(rtnl_link_alloc());
  rtnl_link_set_ifindex(change.get(), interface_index);
  rtnl_link_set_flags(change.get(), IFF_NOARP);
  error = rtnl_link_change(socket_, port.get(), change.get(), 0);
  if (error < 0) {
    return NetlinkError(absl::StrCat("can't switch ARP off on ", rtnl_link_get_name(port.get())), error);
  }
  error = rtnl_link_release_ifindex(socket_, interface_index);
  if (error < 0) {
    return NetlinkError(absl::StrCat("can't take ", rtnl_link_get_name(port.get()), " out of its bridge"), error);
  }
  return absl::OkStatus();
}

absl::Status BridgePorts::Rejoin(int interface_index, int bridge_index) {
  int error = rtnl_link_enslave_ifindex(socket_, bridge_index, interface_index);
  if (error < 0) {
    return NetlinkError(absl::StrCat("can't join the interface with index ", interface_index,
                                     " to the bridge with index ", bridge_index),
                        error);
  }
  rtnl_link* found = nullptr;
  error = rtnl_link_get_kernel(socket_, interface_index, nullptr, &found);
  if (error < 0) return NetlinkError(absl::StrCat("can't find the interface with index ", interface_index), error);
  const Link port(found);
  const Link change(rtnl_link_alloc());
  rtnl_link_set_ifindex(change.get(), interface_index);
  rtnl_link_unset_flags(change.get(), IFF_NOARP);
  error = rtnl_link_change(socket_, port.get(), change.get(), 0);
  if (error < 0) {
    return NetlinkError(absl::StrCat("can't switch ARP on on ", rtnl_link_get_name(port.get())), error);
  }
  return absl::OkStatus();
}

absl::Status BridgePorts::AddClsact(int interface_index) {
  const Qdisc qdisc(rtnl_qdisc_alloc());
  rtnl_tc_set_ifindex(TC_CAST(qdisc.get()), interface_index);
  rtnl_tc_set_parent(TC_CAST(qdisc.get()), TC_H_CLSACT);
  rtnl_tc_set_handle(TC_CAST(qdisc.get()), TC_HANDLE(0xffff, 0));
  rtnl_tc_set_kind(TC_CAST(qdisc.get()), "clsact");
  const int error = rtnl_qdisc_add(socket_, qdisc.get(), NLM_F_CREATE | NLM_F_EXCL);
  if (error < 0 && error != -NLE_EXIST) {
    return NetlinkError(absl::StrCat("can't give the interface with index ", interface_index, " a clsact qdisc"),
                        error);
  }
  return absl::OkStatus();
}

absl::Status BridgePorts::LearnAddress(int interface_index, const std::string& mac) {
  const absl::StatusOr<Address> address = ParseMac(mac);
  if (!address.ok()) return address.status();
  const Neighbour entry(rtnl_neigh_alloc());
  rtnl_neigh_set_family(entry.get(), AF_BRIDGE);
  rtnl_neigh_set_ifindex(entry.get(), interface_index);
  rtnl_neigh_set_lladdr(entry.get(), address->get());
  rtnl_neigh_set_flags(entry.get(), NTF_MASTER);
  // Learned, so it ages; a permanent entry would outlive the guest's next move.
  rtnl_neigh_set_state(entry.get(), NUD_REACHABLE);
  const int error = rtnl_neigh_add(socket_, entry.get(), NLM_F_CREATE | NLM_F_REPLACE);
  if (error == -NLE_PERM) {
    return absl::FailedPreconditionError(
        absl::StrCat("the bridge port with index ", interface_index, " does not forward yet"));
  }
  if (error < 0) return NetlinkError(absl::StrCat("can't point the bridge at ", mac), error);
  return absl::OkStatus();
}

absl::StatusOr<int> BridgePorts::InterfaceIndex(const std::string& interface) {
  const absl::StatusOr<Link> link = GetLink(socket_, interface);
  if (!link.ok()) return link.status();
  return rtnl_link_get_ifindex(link->get());
}

}  // namespace romulus
