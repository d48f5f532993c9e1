#include "netbuf/ifb_link.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

constexpr char kMarkPrefix[] = "romulus:";
// ifb stops its transmit queue when this many packets wait for its softirq. The default of 32 would make a release of
// many packets start and stop.
constexpr uint32_t kLeastTransmitQueueLength = 1000;
// The kernel takes an address in the request that creates, but no alias. Nothing is ever sent from it.
constexpr char kAddress[] = "\x02ROMUL";
constexpr int kAddressBytes = 6;

}  // namespace

std::string IfbName(const Vif& vif) { return absl::StrCat("ifb-d", vif.domid, "-", vif.device_id); }

std::optional<Vif> ParseIfbName(const std::string& name) {
  Vif vif;
  if (sscanf(name.c_str(), "ifb-d%u-%u", &vif.domid, &vif.device_id) != 2 || IfbName(vif) != name) return std::nullopt;
  return vif;
}

std::string FormatIfbMark(const IfbMark& mark) { return absl::StrCat(kMarkPrefix, mark.protection, ":", mark.vif); }

std::optional<IfbMark> ParseIfbMark(const std::string& alias) {
  const size_t prefix = sizeof(kMarkPrefix) - 1;
  const size_t colon = alias.rfind(':');
  if (alias.compare(0, prefix, kMarkPrefix) != 0 || colon < prefix) return std::nullopt;
  return IfbMark{.protection = alias.substr(prefix, colon - prefix), .vif = alias.substr(colon + 1)};
}

bool IsRomulusIfb(const NetworkLink& link) { return link.kind == "ifb" && link.address == kAddress; }

absl::StatusOr<NetworkLink> CreateIfb(NetlinkSocket& socket, const std::string& name, const std::string& alias,
                                      const NetworkLink& vif_link) {
  NetlinkMessage create(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  create.Append(ifinfomsg{})
      .Put(IFLA_IFNAME, name)
      .Put(IFLA_ADDRESS, kAddress, kAddressBytes)
      .Put(IFLA_MTU, vif_link.mtu)
      .Put(IFLA_TXQLEN, std::max(vif_link.transmit_queue_length, kLeastTransmitQueueLength))
      .BeginNested(IFLA_LINKINFO)
      .Put(IFLA_INFO_KIND, std::string("ifb"))
      .EndNested();
  const NetlinkResult created = socket.Transact(create);
  if (created.error == EOPNOTSUPP) {
    return absl::FailedPreconditionError(absl::StrCat("creating ", name, ": the kernel has no ifb: modprobe ifb"));
  }
  if (!created.ok()) return created.ToStatus(absl::StrCat("creating ", name));

  absl::StatusOr<std::optional<NetworkLink>> found = FindLink(socket, name);
  if (!found.ok()) return found.status();
  if (!found->has_value()) return absl::UnavailableError(absl::StrCat(name, " was deleted by somebody else"));
  NetworkLink link = **found;
  NetlinkMessage mark(RTM_SETLINK);
  mark.Append(ifinfomsg{.ifi_index = link.index}).Put(IFLA_IFALIAS, alias.data(), alias.size());
  if (NetlinkResult marked = socket.Transact(mark); !marked.ok()) {
    DeleteLink(socket, link).IgnoreError();
    return marked.ToStatus(absl::StrCat("marking ", name));
  }
  link.alias = alias;
  return link;
}

absl::Status SetUp(NetlinkSocket& socket, const NetworkLink& link) {
  NetlinkMessage request(RTM_SETLINK);
  request.Append(ifinfomsg{.ifi_index = link.index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP});
  return socket.Transact(request).ToStatus(absl::StrCat("setting ", link.name, " up"));
}

absl::Status DeleteLink(NetlinkSocket& socket, const NetworkLink& link) {
  NetlinkMessage request(RTM_DELLINK);
  request.Append(ifinfomsg{.ifi_index = link.index});
  const NetlinkResult result = socket.Transact(request);
  if (result.error == ENODEV) return absl::OkStatus();
  return result.ToStatus(absl::StrCat("deleting ", link.name));
}

}  // namespace romulus
