#include "netbuf/redirect_filter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <netlink/attr.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

constexpr uint32_t kIngressHandle = TC_H_MAKE(TC_H_INGRESS, 0);
constexpr uint32_t kPriority = 1;
constexpr uint32_t kFilterHandle = 1;
constexpr char kCookie[] = "romulus-egress";  // At most 16 bytes.

tcmsg IngressAddress(const NetworkLink& vif) {
  return {.tcm_ifindex = vif.index, .tcm_handle = kIngressHandle, .tcm_parent = TC_H_INGRESS};
}

tcmsg FilterAddress(const NetworkLink& vif) {
  return {.tcm_ifindex = vif.index,
          .tcm_handle = kFilterHandle,
          .tcm_parent = kIngressHandle,
          .tcm_info = TC_H_MAKE(kPriority << 16, htons(ETH_P_ALL))};
}

nlattr* FindNested(nlattr* outer, int attribute) {
  return outer == nullptr ? nullptr : nla_find(static_cast<nlattr*>(nla_data(outer)), nla_len(outer), attribute);
}

// Once a device had an ingress qdisc, a placeholder with another handle stays in its place.
bool SaysNoIngress(int error) { return error == ENOENT || error == EINVAL; }

// The device that the filter redirects to, if it is ours; -1 if it is not.
int RedirectTarget(nlattr* const attributes[]) {
  if (attributes[TCA_KIND] == nullptr || nla_strcmp(attributes[TCA_KIND], "matchall") != 0) return -1;
  nlattr* action = FindNested(FindNested(attributes[TCA_OPTIONS], TCA_MATCHALL_ACT), 1);
  nlattr* cookie = FindNested(action, TCA_ACT_COOKIE);
  if (cookie == nullptr || nla_memcmp(cookie, kCookie, sizeof(kCookie)) != 0) return -1;
  nlattr* parameters = FindNested(FindNested(action, TCA_ACT_OPTIONS), TCA_MIRRED_PARMS);
  tc_mirred mirred = {};
  if (parameters != nullptr) nla_memcpy(&mirred, parameters, sizeof(mirred));
  return mirred.ifindex;
}

absl::StatusOr<bool> HasIngress(NetlinkSocket& socket, const NetworkLink& vif) {
  NetlinkMessage request(RTM_GETQDISC);
  request.Append(IngressAddress(vif));
  const NetlinkResult result = socket.Transact(request);
  if (result.ok()) return true;
  if (SaysNoIngress(result.error)) return false;
  return result.ToStatus(absl::StrCat("looking for an ingress qdisc on ", vif.name));
}

// Fails for ENOENT, which says that the kernel lacks a part of it, with the remedy `modules`.
absl::Status Explain(const NetlinkResult& result, const std::string& what, const char* modules) {
  if (result.error != ENOENT) return result.ToStatus(what);
  return absl::FailedPreconditionError(absl::StrCat(what, ": ", result.reason.empty() ? "" : result.reason + ": ",
                                                    "the kernel lacks it: modprobe -a ", modules));
}

}  // namespace

absl::StatusOr<Redirect> FindRedirect(NetlinkSocket& socket, const NetworkLink& vif, int* to_index) {
  absl::StatusOr<bool> has_ingress = HasIngress(socket, vif);
  if (!has_ingress.ok()) return has_ingress.status();
  if (!*has_ingress) return Redirect::kNone;
  NetlinkMessage request(RTM_GETTFILTER);
  request.Append(tcmsg{.tcm_ifindex = vif.index, .tcm_parent = kIngressHandle});
  Redirect found = Redirect::kEmpty;
  const NetlinkResult result = socket.Dump(request, [&](nlmsghdr* message) {
    nlattr* attributes[TCA_MAX + 1];
    if (message->nlmsg_type != RTM_NEWTFILTER ||
        nlmsg_parse(message, sizeof(tcmsg), attributes, TCA_MAX, nullptr) != 0) {
      return;
    }
    // The kernel shows each priority once without a filter.
    if (attributes[TCA_OPTIONS] == nullptr) return;
    const int target = RedirectTarget(attributes);
    if (target < 0 || found == Redirect::kForeign) {
      found = Redirect::kForeign;
      return;
    }
    found = Redirect::kOurs;
    if (to_index != nullptr) *to_index = target;
  });
  if (!result.ok()) return result.ToStatus(absl::StrCat("reading the filters of ", vif.name));
  return found;
}

absl::Status AddRedirect(NetlinkSocket& socket, const NetworkLink& vif, const NetworkLink& ifb) {
  if (absl::Status status = AddIngress(socket, vif); !status.ok()) return status;
  absl::Status status = AddRedirectFilter(socket, vif, ifb);
  if (!status.ok()) DeleteRedirect(socket, vif).IgnoreError();
  return status;
}

absl::Status AddIngress(NetlinkSocket& socket, const NetworkLink& vif) {
  NetlinkMessage request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL);
  request.Append(IngressAddress(vif)).Put(TCA_KIND, std::string("ingress"));
  const NetlinkResult result = socket.Transact(request);
  if (result.error == EEXIST) {
    return absl::FailedPreconditionError(absl::StrCat(
        vif.name, " has an ingress (or clsact) qdisc that is not Romulus': look at it with 'tc filter show dev ",
        vif.name, " ingress', remove it with 'tc qdisc del dev ", vif.name, " ingress'"));
  }
  return Explain(result, absl::StrCat("adding an ingress qdisc to ", vif.name), "sch_ingress");
}

absl::Status AddRedirectFilter(NetlinkSocket& socket, const NetworkLink& vif, const NetworkLink& ifb) {
  const tc_mirred mirred{
      .action = TC_ACT_STOLEN, .eaction = TCA_EGRESS_REDIR, .ifindex = static_cast<uint32_t>(ifb.index)};
  NetlinkMessage request(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL);
  request.Append(FilterAddress(vif))
      .Put(TCA_KIND, std::string("matchall"))
      .BeginNested(TCA_OPTIONS)
      .BeginNested(TCA_MATCHALL_ACT)
      .BeginNested(1)  // Actions are an array that starts at 1.
      .Put(TCA_ACT_KIND, std::string("mirred"))
      .Put(TCA_ACT_COOKIE, kCookie, sizeof(kCookie))
      .BeginNested(TCA_ACT_OPTIONS)
      .Put(TCA_MIRRED_PARMS, &mirred, sizeof(mirred))
      .EndNested()
      .EndNested()
      .EndNested()
      .EndNested();
  return Explain(socket.Transact(request), absl::StrCat("redirecting the packets of ", vif.name),
                 "cls_matchall act_mirred");
}

absl::Status TryMatchall(NetlinkSocket& socket, const NetworkLink& vif) {
  tcmsg address = FilterAddress(vif);
  address.tcm_info = TC_H_MAKE((kPriority + 1) << 16, htons(ETH_P_ALL));
  NetlinkMessage request(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL);
  request.Append(address)
      .Put(TCA_KIND, std::string("matchall"))
      .BeginNested(TCA_OPTIONS)
      .Put(TCA_MATCHALL_FLAGS, uint32_t{TCA_CLS_FLAGS_SKIP_HW})  // Empty options are none, which it refuses.
      .EndNested();
  return Explain(socket.Transact(request), "adding a matchall filter", "cls_matchall");
}

absl::Status DeleteRedirect(NetlinkSocket& socket, const NetworkLink& vif) {
  NetlinkMessage request(RTM_DELQDISC);
  request.Append(IngressAddress(vif));
  const NetlinkResult result = socket.Transact(request);
  if (result.error == ENODEV || SaysNoIngress(result.error)) return absl::OkStatus();
  return result.ToStatus(absl::StrCat("removing the redirection of ", vif.name));
}

NetlinkMessage RedirectProbeRequest(const NetworkLink& vif) {
  NetlinkMessage request(RTM_GETTFILTER);
  request.Append(FilterAddress(vif)).Put(TCA_KIND, std::string("matchall"));
  return request;
}

}  // namespace romulus
