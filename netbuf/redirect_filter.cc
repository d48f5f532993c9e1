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
#include <vector>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

constexpr uint32_t kIngressHandle = TC_H_MAKE(TC_H_INGRESS, 0);
constexpr uint32_t kPriority = 1;
constexpr uint32_t kFilterHandle = 1;
// The cookie says whose the filter is, and whether the qdisc around it was made with it. At most 16 bytes each.
constexpr char kCookie[] = "romulus-egress";
constexpr char kCookieInOthersQdisc[] = "romulus-filter";
static_assert(sizeof(kCookie) == sizeof(kCookieInOthersQdisc));

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

// Adds a filter of the vif to what was found before.
void Classify(nlattr* const attributes[], FoundRedirect& found) {
  nlattr* action = nullptr;
  if (attributes[TCA_KIND] != nullptr && nla_strcmp(attributes[TCA_KIND], "matchall") == 0) {
    action = FindNested(FindNested(attributes[TCA_OPTIONS], TCA_MATCHALL_ACT), 1);
  }
  nlattr* cookie = FindNested(action, TCA_ACT_COOKIE);
  const bool in_own_qdisc = cookie != nullptr && nla_memcmp(cookie, kCookie, sizeof(kCookie)) == 0;
  const bool in_others_qdisc =
      cookie != nullptr && nla_memcmp(cookie, kCookieInOthersQdisc, sizeof(kCookieInOthersQdisc)) == 0;
  if (!in_own_qdisc && !in_others_qdisc) {
    found.foreign = true;
    return;
  }
  nlattr* parameters = FindNested(FindNested(action, TCA_ACT_OPTIONS), TCA_MIRRED_PARMS);
  tc_mirred mirred = {};
  if (parameters != nullptr) nla_memcpy(&mirred, parameters, sizeof(mirred));
  found.ours = true;
  found.qdisc_is_ours = in_own_qdisc;
  found.to_index = mirred.ifindex;
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

NetlinkMessage IngressRequest(const NetworkLink& vif) {
  NetlinkMessage request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL);
  request.Append(IngressAddress(vif)).Put(TCA_KIND, std::string("ingress"));
  return request;
}

absl::Status ExplainIngress(const NetlinkResult& result, const NetworkLink& vif) {
  return Explain(result, absl::StrCat("adding an ingress qdisc to ", vif.name), "sch_ingress");
}

NetlinkMessage FilterRequest(const NetworkLink& vif, const NetworkLink& ifb, const char* cookie) {
  const tc_mirred mirred{
      .action = TC_ACT_STOLEN, .eaction = TCA_EGRESS_REDIR, .ifindex = static_cast<uint32_t>(ifb.index)};
  NetlinkMessage request(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL);
  request.Append(FilterAddress(vif))
      .Put(TCA_KIND, std::string("matchall"))
      .BeginNested(TCA_OPTIONS)
      .BeginNested(TCA_MATCHALL_ACT)
      .BeginNested(1)  // Actions are an array that starts at 1.
      .Put(TCA_ACT_KIND, std::string("mirred"))
      .Put(TCA_ACT_COOKIE, cookie, sizeof(kCookie))
      .BeginNested(TCA_ACT_OPTIONS)
      .Put(TCA_MIRRED_PARMS, &mirred, sizeof(mirred))
      .EndNested()
      .EndNested()
      .EndNested()
      .EndNested();
  return request;
}

absl::Status ExplainFilter(const NetlinkResult& result, const NetworkLink& vif) {
  return Explain(result, absl::StrCat("redirecting the packets of ", vif.name), "cls_matchall act_mirred");
}

absl::Status RefuseForeign(const NetworkLink& vif) {
  return absl::FailedPreconditionError(absl::StrCat(
      vif.name, " has a clsact qdisc, or filters in its ingress qdisc, that are not Romulus': look at them with 'tc ",
      "filter show dev ", vif.name, " ingress', remove them with 'tc qdisc del dev ", vif.name, " ingress'"));
}

absl::Status DeleteIngress(NetlinkSocket& socket, const NetworkLink& vif) {
  NetlinkMessage request(RTM_DELQDISC);
  request.Append(IngressAddress(vif));
  const NetlinkResult result = socket.Transact(request);
  if (result.error == ENODEV || SaysNoIngress(result.error)) return absl::OkStatus();
  return result.ToStatus(absl::StrCat("removing the ingress qdisc of ", vif.name));
}

absl::Status DeleteFilter(NetlinkSocket& socket, const NetworkLink& vif) {
  NetlinkMessage request(RTM_DELTFILTER);
  request.Append(FilterAddress(vif)).Put(TCA_KIND, std::string("matchall"));
  const NetlinkResult result = socket.Transact(request);
  if (result.error == ENODEV || SaysNoIngress(result.error)) return absl::OkStatus();
  return result.ToStatus(absl::StrCat("removing the redirection of ", vif.name));
}

}  // namespace

absl::StatusOr<FoundRedirect> FindRedirect(NetlinkSocket& socket, const NetworkLink& vif) {
  FoundRedirect found;
  absl::StatusOr<bool> has_ingress = HasIngress(socket, vif);
  if (!has_ingress.ok()) return has_ingress.status();
  if (!*has_ingress) return found;
  found.ingress = true;
  NetlinkMessage request(RTM_GETTFILTER);
  request.Append(tcmsg{.tcm_ifindex = vif.index, .tcm_parent = kIngressHandle});
  const NetlinkResult result = socket.Dump(request, [&](nlmsghdr* message) {
    nlattr* attributes[TCA_MAX + 1];
    if (message->nlmsg_type != RTM_NEWTFILTER ||
        nlmsg_parse(message, sizeof(tcmsg), attributes, TCA_MAX, nullptr) != 0) {
      return;
    }
    // The kernel shows each priority once without a filter.
    if (attributes[TCA_OPTIONS] != nullptr) Classify(attributes, found);
  });
  if (!result.ok()) return result.ToStatus(absl::StrCat("reading the filters of ", vif.name));
  return found;
}

absl::Status AddRedirect(NetlinkSocket& socket, const NetworkLink& vif, const NetworkLink& ifb) {
  absl::StatusOr<FoundRedirect> found = FindRedirect(socket, vif);
  if (!found.ok()) return found.status();
  if (found->ours || found->foreign) return RefuseForeign(vif);
  if (found->ingress) {
    NetlinkMessage filter = FilterRequest(vif, ifb, kCookieInOthersQdisc);
    const NetlinkResult result = socket.Transact(filter);
    // A clsact qdisc has the same handle, and nothing at this address; or the qdisc shares its filters with others.
    const bool not_for_us = result.error == EINVAL || result.error == EOPNOTSUPP;
    return not_for_us ? RefuseForeign(vif) : ExplainFilter(result, vif);
  }
  NetlinkMessage ingress = IngressRequest(vif);
  NetlinkMessage filter = FilterRequest(vif, ifb, kCookie);
  const std::vector<NetlinkResult> results = socket.Transact({&ingress, &filter});
  if (results[0].ok() && results[1].ok()) return absl::OkStatus();
  if (results[0].ok()) {
    DeleteIngress(socket, vif).IgnoreError();
    return ExplainFilter(results[1], vif);
  }
  // Somebody else's qdisc came in between, maybe.
  if (results[1].ok()) DeleteFilter(socket, vif).IgnoreError();
  return results[0].error == EEXIST ? RefuseForeign(vif) : ExplainIngress(results[0], vif);
}

absl::Status AddIngress(NetlinkSocket& socket, const NetworkLink& vif) {
  NetlinkMessage request = IngressRequest(vif);
  return ExplainIngress(socket.Transact(request), vif);
}

absl::Status AddRedirectFilter(NetlinkSocket& socket, const NetworkLink& vif, const NetworkLink& ifb) {
  NetlinkMessage request = FilterRequest(vif, ifb, kCookie);
  return ExplainFilter(socket.Transact(request), vif);
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

absl::Status DeleteRedirect(NetlinkSocket& socket, const NetworkLink& vif, const FoundRedirect& found) {
  if (!found.ours) return absl::OkStatus();
  return found.qdisc_is_ours && !found.foreign ? DeleteIngress(socket, vif) : DeleteFilter(socket, vif);
}

NetlinkMessage RedirectProbeRequest(const NetworkLink& vif) {
  NetlinkMessage request(RTM_GETTFILTER);
  request.Append(FilterAddress(vif)).Put(TCA_KIND, std::string("matchall"));
  return request;
}

}  // namespace romulus
