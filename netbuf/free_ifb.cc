#include "netbuf/free_ifb.h"

#include <linux/pkt_cls.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include <algorithm>
#include <vector>

#include "netbuf/ifb_link.h"

namespace romulus {
namespace {

using Indices = std::set<int>;

// Devices with a qdisc of somebody's. The kernel does not show those that a device has by itself (noop, noqueue).
NetlinkResult FindDevicesWithQdisc(NetlinkSocket& socket, Indices& devices) {
  NetlinkMessage request(RTM_GETQDISC);
  request.Append(tcmsg{});
  return socket.Dump(request, [&](nlmsghdr* message) {
    if (message->nlmsg_type == RTM_NEWQDISC) {
      devices.insert(static_cast<const tcmsg*>(nlmsg_data(message))->tcm_ifindex);
    }
  });
}

void AddTargets(nlattr* actions, Indices& devices) {
  nlattr* action;
  int left;
  nla_for_each_nested(action, actions, left) {
    nlattr* options = nla_find(static_cast<nlattr*>(nla_data(action)), nla_len(action), TCA_ACT_OPTIONS);
    if (options == nullptr) continue;
    nlattr* parameters = nla_find(static_cast<nlattr*>(nla_data(options)), nla_len(options), TCA_MIRRED_PARMS);
    if (parameters == nullptr) continue;
    tc_mirred mirred = {};
    nla_memcpy(&mirred, parameters, sizeof(mirred));
    devices.insert(static_cast<int>(mirred.ifindex));
  }
}

// Devices that an action sends packets to, in whichever filter of whichever device.
NetlinkResult FindTargetsOfMirred(NetlinkSocket& socket, Indices& devices) {
  NetlinkMessage request(RTM_GETACTION);
  request.Append(tcamsg{})
      .BeginNested(TCA_ACT_TAB)
      .BeginNested(1)
      .Put(TCA_ACT_KIND, std::string("mirred"))
      .EndNested()
      .EndNested();
  return socket.Dump(request, [&](nlmsghdr* message) {
    nlattr* actions = nlmsg_find_attr(message, sizeof(tcamsg), TCA_ACT_TAB);
    if (actions != nullptr) AddTargets(actions, devices);
  });
}

}  // namespace

absl::StatusOr<std::optional<NetworkLink>> FindFreeIfb(NetlinkSocket& socket, const std::set<std::string>& claimed) {
  absl::StatusOr<std::vector<NetworkLink>> links = ListLinks(socket);
  if (!links.ok()) return links.status();
  Indices used;
  if (NetlinkResult result = FindDevicesWithQdisc(socket, used); !result.ok()) {
    return result.ToStatus("listing qdiscs");
  }
  if (NetlinkResult result = FindTargetsOfMirred(socket, used); !result.ok()) {
    return result.ToStatus("listing mirred actions");
  }
  std::optional<NetworkLink> first;
  for (NetworkLink& link : *links) {
    const bool free = link.kind == "ifb" && !link.up && link.alias.empty() && link.master == 0 && !IsRomulusIfb(link) &&
                      used.count(link.index) == 0 && claimed.count(link.name) == 0;
    if (free && (!first.has_value() || link.name < first->name)) first = std::move(link);
  }
  return first;
}

}  // namespace romulus
