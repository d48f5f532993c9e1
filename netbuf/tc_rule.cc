#include "netbuf/tc_rule.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <linux/tc_act/tc_skbedit.h>
#include <netlink/attr.h>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus {
namespace {

constexpr uint32_t kHandle = TC_H_MAKE(TC_H_CLSACT, 0);
constexpr uint32_t kMatchallHandle = 1;
constexpr int kActionsMax = 8;
constexpr size_t kCookieBytesMax = 16;

tcmsg QdiscAddress(const NetworkLink& link) {
  return {.tcm_ifindex = link.index, .tcm_handle = kHandle, .tcm_parent = TC_H_CLSACT};
}

// The ingress qdisc takes the same.
uint32_t Parent(TcHook hook) {
  return TC_H_MAKE(TC_H_CLSACT, hook == TcHook::kIngress ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
}

const char* Kind(const TcRule& rule) { return rule.only_mark.has_value() ? "fw" : "matchall"; }

tcmsg RuleAddress(const NetworkLink& link, const TcRule& rule) {
  return {.tcm_ifindex = link.index,
          .tcm_handle = rule.only_mark.value_or(kMatchallHandle),
          .tcm_parent = Parent(rule.hook),
          .tcm_info = TC_H_MAKE(rule.priority << 16, htons(ETH_P_ALL))};
}

bool Redirects(const TcRule& rule) {
  return rule.action == TcRule::Action::kRedirectEgress || rule.action == TcRule::Action::kRedirectIngress;
}

void BeginAction(NetlinkMessage& request, int position, const char* kind, const std::string& cookie) {
  request.BeginNested(position).Put(TCA_ACT_KIND, std::string(kind));
  if (!cookie.empty()) request.Put(TCA_ACT_COOKIE, cookie.data(), cookie.size());
  request.BeginNested(TCA_ACT_OPTIONS);
}

void PutMark(NetlinkMessage& request, int position, uint32_t mark, int verdict, const std::string& cookie) {
  BeginAction(request, position, "skbedit", cookie);
  tc_skbedit parameters = {};
  parameters.action = verdict;
  request.Put(TCA_SKBEDIT_PARMS, &parameters, sizeof(parameters)).Put(TCA_SKBEDIT_MARK, mark);
  request.EndNested().EndNested();
}

void PutMirred(NetlinkMessage& request, int position, const TcRule& rule) {
  tc_mirred parameters = {};
  parameters.ifindex = rule.to_index;
  parameters.action = TC_ACT_STOLEN;
  parameters.eaction = rule.action == TcRule::Action::kRedirectEgress ? TCA_EGRESS_REDIR : TCA_INGRESS_REDIR;
  BeginAction(request, position, "mirred", rule.cookie);
  request.Put(TCA_MIRRED_PARMS, &parameters, sizeof(parameters)).EndNested().EndNested();
}

nlattr* FindNested(nlattr* outer, int attribute) {
  return outer == nullptr ? nullptr : nla_find(static_cast<nlattr*>(nla_data(outer)), nla_len(outer), attribute);
}

// ENOENT: no such kind of qdisc, filter or action.
absl::Status Explain(const NetlinkResult& result, const std::string& what, const std::string& modules) {
  if (result.error != ENOENT) return result.ToStatus(what);
  return absl::FailedPreconditionError(absl::StrCat(what, ": ", result.reason.empty() ? "" : result.reason + ": ",
                                                    "the kernel lacks it: modprobe -a ", modules));
}

std::string Modules(const TcRule& rule) {
  std::string modules = absl::StrCat("cls_", Kind(rule));
  if (Redirects(rule)) absl::StrAppend(&modules, " act_mirred");
  const bool marks = rule.action == TcRule::Action::kPass || rule.action == TcRule::Action::kDrop;
  if (marks || rule.set_mark.has_value()) absl::StrAppend(&modules, " act_skbedit");
  return modules;
}

}  // namespace

absl::StatusOr<Classifier> FindClassifier(NetlinkSocket& socket, const NetworkLink& link) {
  // Without ECHO, Linux 6.1 tells only those who listen for changes (qdisc_notify).
  NetlinkMessage request(RTM_GETQDISC, NLM_F_ECHO);
  request.Append(QdiscAddress(link));
  Classifier found = Classifier::kNone;
  const NetlinkResult result = socket.Transact(request, [&](nlmsghdr* message) {
    nlattr* attributes[TCA_MAX + 1];
    if (message->nlmsg_type != RTM_NEWQDISC || nlmsg_parse(message, sizeof(tcmsg), attributes, TCA_MAX, nullptr) != 0 ||
        attributes[TCA_KIND] == nullptr) {
      return;
    }
    if (nla_strcmp(attributes[TCA_KIND], "clsact") == 0) found = Classifier::kClsact;
    if (nla_strcmp(attributes[TCA_KIND], "ingress") == 0) found = Classifier::kIngress;
  });
  // Once a device had one, a placeholder with another handle stays in its place: EINVAL.
  if (result.ok() || result.error == ENOENT || result.error == EINVAL) return found;
  return result.ToStatus(absl::StrCat("looking for a clsact qdisc on ", link.name));
}

NetlinkMessage AddClsactRequest(const NetworkLink& link) {
  NetlinkMessage request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL);
  request.Append(QdiscAddress(link)).Put(TCA_KIND, std::string("clsact"));
  return request;
}

NetlinkMessage DeleteClassifierRequest(const NetworkLink& link) {
  NetlinkMessage request(RTM_DELQDISC);
  request.Append(QdiscAddress(link));
  return request;
}

absl::Status DeleteClassifier(NetlinkSocket& socket, const NetworkLink& link) {
  NetlinkMessage request = DeleteClassifierRequest(link);
  const NetlinkResult result = socket.Transact(request);
  if (SaysGone(result)) return absl::OkStatus();
  return result.ToStatus(absl::StrCat("removing the clsact qdisc of ", link.name));
}

NetlinkMessage AddRuleRequest(const NetworkLink& link, const TcRule& rule) {
  ROMULUS_CHECK(rule.cookie.size() <= kCookieBytesMax);
  ROMULUS_CHECK(rule.action != TcRule::Action::kNothing || !rule.only_mark.has_value());
  NetlinkMessage request(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL);
  request.Append(RuleAddress(link, rule)).Put(TCA_KIND, std::string(Kind(rule)));
  request.BeginNested(TCA_OPTIONS);
  if (rule.action == TcRule::Action::kNothing) {
    // Empty options are none, which it refuses.
    request.Put(TCA_MATCHALL_FLAGS, uint32_t{TCA_CLS_FLAGS_SKIP_HW}).EndNested();
    return request;
  }
  request.BeginNested(rule.only_mark.has_value() ? int{TCA_FW_ACT} : int{TCA_MATCHALL_ACT});
  int position = 0;  // Actions are an array that starts at 1.
  if (!Redirects(rule)) {
    const bool drops = rule.action == TcRule::Action::kDrop;
    PutMark(request, ++position, 0, drops ? TC_ACT_SHOT : TC_ACT_OK, rule.cookie);
  } else {
    if (rule.set_mark.has_value()) PutMark(request, ++position, *rule.set_mark, TC_ACT_PIPE, rule.cookie);
    PutMirred(request, ++position, rule);
  }
  request.EndNested().EndNested();
  return request;
}

NetlinkMessage DeleteRuleRequest(const NetworkLink& link, const TcRule& rule) {
  NetlinkMessage request(RTM_DELTFILTER);
  request.Append(RuleAddress(link, rule)).Put(TCA_KIND, std::string(Kind(rule)));
  return request;
}

NetlinkMessage ProbeRuleRequest(const NetworkLink& link, const TcRule& rule) {
  NetlinkMessage request(RTM_GETTFILTER);
  request.Append(RuleAddress(link, rule)).Put(TCA_KIND, std::string(Kind(rule)));
  return request;
}

absl::Status ExplainRule(const NetlinkResult& result, const std::string& what, const TcRule& rule) {
  return Explain(result, what, Modules(rule));
}

absl::Status ExplainClsact(const NetlinkResult& result, const NetworkLink& link) {
  return Explain(result, absl::StrCat("adding a clsact qdisc to ", link.name), "sch_ingress");
}

bool SaysGone(const NetlinkResult& result) {
  return result.error == ENODEV || result.error == ENOENT || result.error == EINVAL;
}

absl::StatusOr<std::vector<FoundRule>> ListRules(NetlinkSocket& socket, const NetworkLink& link, TcHook hook) {
  std::vector<FoundRule> rules;
  NetlinkMessage request(RTM_GETTFILTER);
  request.Append(tcmsg{.tcm_ifindex = link.index, .tcm_parent = Parent(hook)});
  const NetlinkResult result = socket.Dump(request, [&](nlmsghdr* message) {
    nlattr* attributes[TCA_MAX + 1];
    if (message->nlmsg_type != RTM_NEWTFILTER ||
        nlmsg_parse(message, sizeof(tcmsg), attributes, TCA_MAX, nullptr) != 0) {
      return;
    }
    // The kernel shows each priority once without a filter.
    if (attributes[TCA_OPTIONS] == nullptr || attributes[TCA_KIND] == nullptr) return;
    const tcmsg* address = static_cast<const tcmsg*>(nlmsg_data(message));
    FoundRule rule{.hook = hook, .priority = TC_H_MAJ(address->tcm_info) >> 16};
    rule.kind = nla_get_string(attributes[TCA_KIND]);
    nlattr* actions = nullptr;
    if (rule.kind == "matchall") actions = FindNested(attributes[TCA_OPTIONS], TCA_MATCHALL_ACT);
    if (rule.kind == "fw") actions = FindNested(attributes[TCA_OPTIONS], TCA_FW_ACT);
    for (int position = 1; position <= kActionsMax; ++position) {
      nlattr* action = FindNested(actions, position);
      if (action == nullptr) break;
      nlattr* cookie = FindNested(action, TCA_ACT_COOKIE);
      if (position == 1 && cookie != nullptr) {
        rule.cookie.assign(static_cast<const char*>(nla_data(cookie)), nla_len(cookie));
      }
      nlattr* kind = FindNested(action, TCA_ACT_KIND);
      if (kind == nullptr || nla_strcmp(kind, "mirred") != 0) continue;
      nlattr* parameters = FindNested(FindNested(action, TCA_ACT_OPTIONS), TCA_MIRRED_PARMS);
      tc_mirred mirred = {};
      if (parameters != nullptr) nla_memcpy(&mirred, parameters, sizeof(mirred));
      rule.to_index = mirred.ifindex;
    }
    rules.push_back(std::move(rule));
  });
  if (!result.ok()) return result.ToStatus(absl::StrCat("reading the filters of ", link.name));
  return rules;
}

}  // namespace romulus
