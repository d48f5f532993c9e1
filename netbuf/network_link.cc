#include "netbuf/network_link.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include <cstring>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

std::optional<NetworkLink> ParseLink(nlmsghdr* message) {
  if (message->nlmsg_type != RTM_NEWLINK) return std::nullopt;
  nlattr* attributes[IFLA_MAX + 1];
  if (nlmsg_parse(message, sizeof(ifinfomsg), attributes, IFLA_MAX, nullptr) != 0) return std::nullopt;
  const ifinfomsg* info = static_cast<const ifinfomsg*>(nlmsg_data(message));
  NetworkLink link{.index = info->ifi_index, .up = (info->ifi_flags & IFF_UP) != 0};
  if (attributes[IFLA_IFNAME]) link.name = nla_get_string(attributes[IFLA_IFNAME]);
  if (attributes[IFLA_IFALIAS]) link.alias = nla_get_string(attributes[IFLA_IFALIAS]);
  if (attributes[IFLA_ADDRESS]) {
    link.address.assign(static_cast<const char*>(nla_data(attributes[IFLA_ADDRESS])),
                        nla_len(attributes[IFLA_ADDRESS]));
  }
  if (attributes[IFLA_MASTER]) link.master = nla_get_u32(attributes[IFLA_MASTER]);
  if (attributes[IFLA_MTU]) link.mtu = nla_get_u32(attributes[IFLA_MTU]);
  if (attributes[IFLA_TXQLEN]) link.transmit_queue_length = nla_get_u32(attributes[IFLA_TXQLEN]);
  if (attributes[IFLA_LINKINFO]) {
    nlattr* information[IFLA_INFO_MAX + 1];
    if (nla_parse_nested(information, IFLA_INFO_MAX, attributes[IFLA_LINKINFO], nullptr) != 0) return std::nullopt;
    if (information[IFLA_INFO_KIND]) link.kind = nla_get_string(information[IFLA_INFO_KIND]);
    if (information[IFLA_INFO_SLAVE_KIND]) link.port_kind = nla_get_string(information[IFLA_INFO_SLAVE_KIND]);
  }
  if (attributes[IFLA_STATS64]) {
    rtnl_link_stats64 statistics = {};
    nla_memcpy(&statistics, attributes[IFLA_STATS64], sizeof(statistics));
    link.received_packets = statistics.rx_packets;
    link.received_dropped = statistics.rx_dropped;
    link.transmitted_packets = statistics.tx_packets;
    link.transmitted_dropped = statistics.tx_dropped;
  }
  return link;
}

}  // namespace

absl::StatusOr<std::optional<NetworkLink>> FindLink(NetlinkSocket& socket, const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ) {
    return absl::InvalidArgumentError(absl::StrCat("'", name, "' is no name of a network device"));
  }
  NetlinkMessage request(RTM_GETLINK);
  request.Append(ifinfomsg{}).Put(IFLA_IFNAME, name);
  std::optional<NetworkLink> link;
  const NetlinkResult result = socket.Transact(request, [&](nlmsghdr* message) { link = ParseLink(message); });
  if (result.error == ENODEV) return std::optional<NetworkLink>();
  if (!result.ok()) return result.ToStatus(absl::StrCat("looking for ", name));
  return link;
}

absl::StatusOr<std::vector<NetworkLink>> ListLinks(NetlinkSocket& socket) {
  NetlinkMessage request(RTM_GETLINK);
  request.Append(ifinfomsg{});
  std::vector<NetworkLink> links;
  const NetlinkResult result = socket.Dump(request, [&](nlmsghdr* message) {
    if (std::optional<NetworkLink> link = ParseLink(message)) links.push_back(*std::move(link));
  });
  if (!result.ok()) return result.ToStatus("listing network devices");
  return links;
}

}  // namespace romulus
