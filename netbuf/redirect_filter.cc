#include "netbuf/redirect_filter.h"

#include <errno.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "netbuf/tap_cookie.h"

namespace romulus {
namespace {

constexpr uint32_t kPriority = 1;
// The cookie says whose the filter is, and whether the qdisc around it was made with it. Both end in a 0.
constexpr std::string_view kCookie("romulus-egress", 15);
constexpr std::string_view kCookieInOthersQdisc("romulus-filter", 15);

absl::Status RefuseForeign(const NetworkLink& vif) {
  return absl::FailedPreconditionError(absl::StrCat(
      vif.name, " has filters in its clsact or ingress qdisc that are not Romulus': look at them with 'tc filter show ",
      "dev ", vif.name, " ingress', remove them with 'tc filter del dev ", vif.name, " ingress'"));
}

absl::Status RefuseTapped(const NetworkLink& vif) {
  return absl::FailedPreconditionError(
      absl::StrCat(vif.name, " still has the filters of a lockstep session: end that; if its agent died, start it ",
                   "again, or remove them with 'tc filter del dev ", vif.name, " ingress' and the same for egress"));
}

absl::Status DeleteFilter(NetlinkSocket& socket, const NetworkLink& vif) {
  NetlinkMessage request = DeleteRuleRequest(vif, TcRule{.priority = kPriority});
  const NetlinkResult result = socket.Transact(request);
  if (SaysGone(result)) return absl::OkStatus();
  return result.ToStatus(absl::StrCat("removing the redirection of ", vif.name));
}

absl::Status ExplainFilter(const NetlinkResult& result, const NetworkLink& vif, const TcRule& rule) {
  return ExplainRule(result, absl::StrCat("redirecting the packets of ", vif.name), rule);
}

}  // namespace

TcRule RedirectRule(const NetworkLink& ifb, bool in_own_qdisc) {
  return {.priority = kPriority,
          .action = TcRule::Action::kRedirectEgress,
          .to_index = ifb.index,
          .cookie = std::string(in_own_qdisc ? kCookie : kCookieInOthersQdisc)};
}

absl::StatusOr<FoundRedirect> FindRedirect(NetlinkSocket& socket, const NetworkLink& vif) {
  FoundRedirect found;
  absl::StatusOr<Classifier> classifier = FindClassifier(socket, vif);
  if (!classifier.ok()) return classifier.status();
  if (*classifier == Classifier::kNone) return found;
  found.classifier = true;
  absl::StatusOr<std::vector<FoundRule>> rules = ListRules(socket, vif, TcHook::kIngress);
  if (!rules.ok()) return rules.status();
  for (const FoundRule& rule : *rules) {
    if (rule.cookie == kCookie || rule.cookie == kCookieInOthersQdisc) {
      found.ours = true;
      found.qdisc_is_ours = rule.cookie == kCookie;
      found.to_index = rule.to_index;
    } else {
      found.foreign = true;
      found.tapped |= ParseTapCookie(rule.cookie).has_value();
    }
  }
  found.shared = found.foreign;
  if (*classifier == Classifier::kClsact) {
    absl::StatusOr<std::vector<FoundRule>> at_egress = ListRules(socket, vif, TcHook::kEgress);
    if (!at_egress.ok()) return at_egress.status();
    found.shared |= !at_egress->empty();
  }
  return found;
}

absl::Status AddRedirect(NetlinkSocket& socket, const NetworkLink& vif, const NetworkLink& ifb) {
  absl::StatusOr<FoundRedirect> found = FindRedirect(socket, vif);
  if (!found.ok()) return found.status();
  if (found->tapped) return RefuseTapped(vif);
  if (found->ours || found->foreign) return RefuseForeign(vif);
  const TcRule rule = RedirectRule(ifb, !found->classifier);
  NetlinkMessage filter = AddRuleRequest(vif, rule);
  if (found->classifier) {
    const NetlinkResult result = socket.Transact(filter);
    // The qdisc shares its filters with others.
    const bool not_for_us = result.error == EINVAL || result.error == EOPNOTSUPP;
    return not_for_us ? RefuseForeign(vif) : ExplainFilter(result, vif, rule);
  }
  NetlinkMessage clsact = AddClsactRequest(vif);
  const std::vector<NetlinkResult> results = socket.Transact({&clsact, &filter});
  if (results[0].ok() && results[1].ok()) return absl::OkStatus();
  if (results[0].ok()) {
    DeleteClassifier(socket, vif).IgnoreError();
    return ExplainFilter(results[1], vif, rule);
  }
  // Somebody else's qdisc came in between, maybe.
  if (results[1].ok()) DeleteFilter(socket, vif).IgnoreError();
  return results[0].error == EEXIST ? RefuseForeign(vif) : ExplainClsact(results[0], vif);
}

absl::Status DeleteRedirect(NetlinkSocket& socket, const NetworkLink& vif, const FoundRedirect& found) {
  if (!found.ours) return absl::OkStatus();
  return found.qdisc_is_ours && !found.shared ? DeleteClassifier(socket, vif) : DeleteFilter(socket, vif);
}

NetlinkMessage RedirectProbeRequest(const NetworkLink& vif) {
  return ProbeRuleRequest(vif, TcRule{.priority = kPriority});
}

}  // namespace romulus
