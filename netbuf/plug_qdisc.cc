#include "netbuf/plug_qdisc.h"

#include <errno.h>
#include <linux/gen_stats.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

// Two handles, so that the kernel can tell the next plug from the one that is there.
constexpr uint32_t kFirstHandle = TC_H_MAKE(1u << 16, 0);
constexpr uint32_t kSecondHandle = TC_H_MAKE(2u << 16, 0);
// Whatever plug is at the root.
constexpr uint32_t kAnyHandle = 0;

NetlinkMessage PlugRequest(const NetworkLink& ifb, int flags, uint32_t handle, const tc_plug_qopt& options) {
  NetlinkMessage request(RTM_NEWQDISC, flags);
  request.Append(tcmsg{.tcm_ifindex = ifb.index, .tcm_handle = handle, .tcm_parent = TC_H_ROOT})
      .Put(TCA_KIND, std::string("plug"))
      .Put(TCA_OPTIONS, &options, sizeof(options));
  return request;
}

int ToKernel(PlugCommand command) {
  switch (command) {
    case PlugCommand::kBuffer:
      return TCQ_PLUG_BUFFER;
    case PlugCommand::kReleaseOne:
      return TCQ_PLUG_RELEASE_ONE;
    case PlugCommand::kReleaseIndefinite:
      return TCQ_PLUG_RELEASE_INDEFINITE;
  }
  __builtin_unreachable();
}

struct Plug {
  uint32_t handle = 0;
  PlugKernel::Statistics statistics;
};

std::optional<Plug> ParsePlug(nlmsghdr* message) {
  nlattr* attributes[TCA_MAX + 1];
  if (message->nlmsg_type != RTM_NEWQDISC || nlmsg_parse(message, sizeof(tcmsg), attributes, TCA_MAX, nullptr) != 0 ||
      attributes[TCA_KIND] == nullptr || nla_strcmp(attributes[TCA_KIND], "plug") != 0 ||
      attributes[TCA_STATS2] == nullptr) {
    return std::nullopt;
  }
  nlattr* statistics[TCA_STATS_MAX + 1];
  if (nla_parse_nested(statistics, TCA_STATS_MAX, attributes[TCA_STATS2], nullptr) != 0 ||
      statistics[TCA_STATS_QUEUE] == nullptr || statistics[TCA_STATS_BASIC] == nullptr) {
    return std::nullopt;
  }
  gnet_stats_queue queue = {};
  nla_memcpy(&queue, statistics[TCA_STATS_QUEUE], sizeof(queue));
  // What has been dequeued.
  gnet_stats_basic basic = {};
  nla_memcpy(&basic, statistics[TCA_STATS_BASIC], sizeof(basic));
  uint64_t sent_packets = basic.packets;
  // There only where 32 bits do not suffice.
  if (statistics[TCA_STATS_PKT64] != nullptr) sent_packets = nla_get_u64(statistics[TCA_STATS_PKT64]);
  return Plug{.handle = static_cast<const tcmsg*>(nlmsg_data(message))->tcm_handle,
              .statistics = {.held_packets = queue.qlen,
                             .held_bytes = queue.backlog,
                             .dropped_packets = queue.drops,
                             .sent_packets = sent_packets,
                             .sent_bytes = basic.bytes}};
}

absl::StatusOr<Plug> FindPlug(NetlinkSocket& socket, const NetworkLink& ifb) {
  // Without ECHO, Linux 6.1 tells only those who listen for changes (qdisc_notify).
  NetlinkMessage request(RTM_GETQDISC, NLM_F_ECHO);
  request.Append(tcmsg{.tcm_ifindex = ifb.index, .tcm_parent = TC_H_ROOT});
  std::optional<Plug> plug;
  const NetlinkResult result = socket.Transact(request, [&](nlmsghdr* message) { plug = ParsePlug(message); });
  if (!result.ok() && result.error != ENOENT) return result.ToStatus(absl::StrCat("reading the plug of ", ifb.name));
  if (!plug) return absl::NotFoundError(absl::StrCat(ifb.name, " has no plug qdisc"));
  return *plug;
}

}  // namespace

absl::Status AddPassingPlug(NetlinkSocket& socket, const NetworkLink& ifb, uint32_t limit_bytes) {
  NetlinkMessage add = PlugRequest(ifb, NLM_F_CREATE | NLM_F_EXCL, kFirstHandle, {.limit = limit_bytes});
  const NetlinkResult added = socket.Transact(add);
  if (added.error == ENOENT) {
    return absl::FailedPreconditionError(
        absl::StrCat("adding a plug qdisc to ", ifb.name, ": the kernel has none: modprobe sch_plug"));
  }
  if (!added.ok()) return added.ToStatus(absl::StrCat("adding a plug qdisc to ", ifb.name));
  NetlinkMessage pass = PlugCommandRequest(ifb, PlugCommand::kReleaseIndefinite);
  return socket.Transact(pass).ToStatus(absl::StrCat("letting packets pass ", ifb.name));
}

absl::Status ReplacePlug(NetlinkSocket& socket, const NetworkLink& ifb, uint32_t limit_bytes) {
  absl::StatusOr<Plug> old = FindPlug(socket, ifb);
  if (!old.ok()) return old.status();
  NetlinkMessage replace =
      PlugRequest(ifb, NLM_F_CREATE | NLM_F_REPLACE, old->handle == kFirstHandle ? kSecondHandle : kFirstHandle,
                  {.limit = limit_bytes});
  return socket.Transact(replace).ToStatus(absl::StrCat("replacing the plug of ", ifb.name));
}

absl::Status SetPlugLimit(NetlinkSocket& socket, const NetworkLink& ifb, uint32_t limit_bytes) {
  NetlinkMessage request = PlugRequest(ifb, 0, kAnyHandle, {.action = TCQ_PLUG_LIMIT, .limit = limit_bytes});
  return socket.Transact(request).ToStatus(absl::StrCat("setting the limit of the plug of ", ifb.name));
}

NetlinkMessage PlugCommandRequest(const NetworkLink& ifb, PlugCommand command) {
  return PlugRequest(ifb, 0, kAnyHandle, {.action = ToKernel(command)});
}

absl::StatusOr<PlugKernel::Statistics> ReadPlug(NetlinkSocket& socket, const NetworkLink& ifb) {
  absl::StatusOr<Plug> plug = FindPlug(socket, ifb);
  if (!plug.ok()) return plug.status();
  return plug->statistics;
}

}  // namespace romulus
