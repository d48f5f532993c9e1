#include "netbuf/ifb_link.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

constexpr char kMarkPrefix[] = "romulus:";
constexpr char kAdoptedMarkPrefix[] = "romulus-adopted:";
// ifb stops its transmit queue when this many packets wait for its softirq. The default of 32 would make a release of
// many packets start and stop.
constexpr uint32_t kLeastTransmitQueueLength = 1000;
// The kernel takes an address in the request that creates, but no alias. Nothing is ever sent from it.
constexpr char kAddress[] = "\x02ROMUL";
constexpr int kAddressBytes = 6;
uint32_t TransmitQueueLength(const NetworkLink& vif_link) {
  return std::max(vif_link.transmit_queue_length, kLeastTransmitQueueLength);
}

// Answers of a kernel that may well make an ifb another time, or for somebody else.
bool SaysNoRoom(int error) {
  return error == ENFILE || error == EMFILE || error == ENOSPC || error == ENOMEM || error == ENOBUFS || error == EBUSY;
}

NetlinkMessage MarkRequest(const NetworkLink& link, const std::string& alias) {
  NetlinkMessage request(RTM_SETLINK);
  request.Append(ifinfomsg{.ifi_index = link.index}).Put(IFLA_IFALIAS, alias.data(), alias.size());
  return request;
}

}  // namespace

std::string IfbName(const Vif& vif) {
  return absl::StrCat("ifb-d", vif.domid, "-", vif.device_id, vif.emulated ? "e" : "");
}

std::optional<Vif> ParseIfbName(const std::string& name) {
  Vif vif;
  if (sscanf(name.c_str(), "ifb-d%u-%u", &vif.domid, &vif.device_id) != 2) return std::nullopt;
  vif.emulated = name.back() == 'e';
  if (IfbName(vif) != name) return std::nullopt;
  return vif;
}

std::string FormatIfbMark(const IfbMark& mark) {
  if (!mark.adopted.has_value()) return absl::StrCat(kMarkPrefix, mark.protection, ":", mark.vif.name);
  return absl::StrCat(kAdoptedMarkPrefix, mark.vif.domid, "-", VifRecordName(mark.vif), ":", mark.adopted->mtu, ":",
                      mark.adopted->transmit_queue_length, ":", mark.protection, ":", mark.vif.name);
}

std::optional<IfbMark> ReadIfbMark(const NetworkLink& link) {
  if (link.kind != "ifb") return std::nullopt;
  const size_t colon = link.alias.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  IfbMark mark;
  size_t protection = sizeof(kMarkPrefix) - 1;
  if (absl::StartsWith(link.alias, kMarkPrefix)) {
    std::optional<Vif> vif = ParseIfbName(link.name);
    if (!vif.has_value()) return std::nullopt;
    mark.vif = *std::move(vif);
  } else {
    unsigned domid = 0;
    char record[32];
    IfbMark::Before before;
    int end = 0;
    if (!absl::StartsWith(link.alias, kAdoptedMarkPrefix) ||
        sscanf(link.alias.c_str() + sizeof(kAdoptedMarkPrefix) - 1, "%u-%31[^:]:%u:%u:%n", &domid, record, &before.mtu,
               &before.transmit_queue_length, &end) != 4) {
      return std::nullopt;
    }
    std::optional<Vif> vif = ParseVifRecordName(record);
    if (!vif.has_value()) return std::nullopt;
    mark.vif = *std::move(vif);
    mark.vif.domid = domid;
    mark.adopted = before;
    protection = sizeof(kAdoptedMarkPrefix) - 1 + end;
  }
  if (colon < protection) return std::nullopt;
  mark.protection = link.alias.substr(protection, colon - protection);
  mark.vif.name = link.alias.substr(colon + 1);
  return mark;
}

bool IsRomulusIfb(const NetworkLink& link) { return link.kind == "ifb" && link.address == kAddress; }

absl::StatusOr<NetworkLink> CreateIfb(NetlinkSocket& socket, const std::string& name, const std::string& alias,
                                      const NetworkLink& vif_link) {
  NetlinkMessage create(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  create.Append(ifinfomsg{})
      .Put(IFLA_IFNAME, name)
      .Put(IFLA_ADDRESS, kAddress, kAddressBytes)
      .Put(IFLA_MTU, vif_link.mtu)
      .Put(IFLA_TXQLEN, TransmitQueueLength(vif_link))
      .BeginNested(IFLA_LINKINFO)
      .Put(IFLA_INFO_KIND, std::string("ifb"))
      .EndNested();
  const NetlinkResult created = socket.Transact(create);
  if (created.error == EOPNOTSUPP) {
    return absl::FailedPreconditionError(absl::StrCat("creating ", name, ": the kernel has no ifb: modprobe ifb"));
  }
  if (SaysNoRoom(created.error)) {
    return absl::ResourceExhaustedError(absl::StrCat("creating ", name, ": ", strerror(created.error)));
  }
  if (!created.ok()) return created.ToStatus(absl::StrCat("creating ", name));

  absl::StatusOr<std::optional<NetworkLink>> found = FindLink(socket, name);
  if (!found.ok()) return found.status();
  if (!found->has_value()) return absl::UnavailableError(absl::StrCat(name, " was deleted by somebody else"));
  NetworkLink link = **found;
  NetlinkMessage mark = MarkRequest(link, alias);
  if (NetlinkResult marked = socket.Transact(mark); !marked.ok()) {
    DeleteLink(socket, link).IgnoreError();
    return marked.ToStatus(absl::StrCat("marking ", name));
  }
  link.alias = alias;
  return link;
}

absl::StatusOr<NetworkLink> AdoptIfb(NetlinkSocket& socket, const NetworkLink& free_ifb, IfbMark mark,
                                     const NetworkLink& vif_link) {
  mark.adopted = IfbMark::Before{free_ifb.mtu, free_ifb.transmit_queue_length};
  NetworkLink link = free_ifb;
  link.alias = FormatIfbMark(mark);
  if (link.alias.size() > kIfbMarkBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(link.alias, " is too long for the alias of ", link.name));
  }
  // The mark first: whoever dies in between leaves a device that is known, and given back as it was.
  NetlinkMessage alias = MarkRequest(link, link.alias);
  NetlinkMessage resize(RTM_SETLINK);
  resize.Append(ifinfomsg{.ifi_index = link.index})
      .Put(IFLA_MTU, vif_link.mtu)
      .Put(IFLA_TXQLEN, TransmitQueueLength(vif_link));
  const std::vector<NetlinkResult> results = socket.Transact({&alias, &resize});
  for (const NetlinkResult& result : results) {
    if (result.ok()) continue;
    if (results[0].ok()) GiveIfbBack(socket, link, *mark.adopted).IgnoreError();
    return result.ToStatus(absl::StrCat("adopting ", link.name));
  }
  return link;
}

absl::Status GiveIfbBack(NetlinkSocket& socket, const NetworkLink& ifb, const IfbMark::Before& before) {
  NetlinkMessage down(RTM_SETLINK);
  down.Append(ifinfomsg{.ifi_index = ifb.index, .ifi_flags = 0, .ifi_change = IFF_UP});
  NetlinkMessage resize(RTM_SETLINK);
  resize.Append(ifinfomsg{.ifi_index = ifb.index})
      .Put(IFLA_MTU, before.mtu)
      .Put(IFLA_TXQLEN, before.transmit_queue_length);
  NetlinkMessage no_qdisc(RTM_DELQDISC);
  no_qdisc.Append(tcmsg{.tcm_ifindex = ifb.index, .tcm_parent = TC_H_ROOT});
  NetlinkMessage no_mark = MarkRequest(ifb, "");
  const std::vector<NetlinkResult> results = socket.Transact({&down, &resize, &no_qdisc, &no_mark});
  for (const NetlinkResult& result : results) {
    if (result.error == ENODEV) return absl::OkStatus();
    // It was adopted, but had no plug yet.
    if (&result == &results[2] && (result.error == ENOENT || result.error == EINVAL)) continue;
    if (!result.ok()) return result.ToStatus(absl::StrCat("giving ", ifb.name, " back"));
  }
  return absl::OkStatus();
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
