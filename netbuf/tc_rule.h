#ifndef ROMULUS_NETBUF_TC_RULE_H_
#define ROMULUS_NETBUF_TC_RULE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "netbuf/netlink_message.h"
#include "netbuf/netlink_socket.h"
#include "netbuf/network_link.h"

namespace romulus {

// Filters at a device's two hooks, in its clsact qdisc (net/sched/sch_ingress.c). The older ingress qdisc stands in the
// same place, with the same handle, and has the first hook alone; a filter is addressed in both alike.
//
// The kernel deactivates all queues of a device while such a qdisc comes or goes, and drops what it sends (README.md);
// filters come and go without a loss.

enum class TcHook {
  kIngress,  // What the device receives; of a vif: what its guest sends.
  kEgress,   // What the device sends; of a vif: what goes to its guest.
};

// Which qdisc of the two a device has.
enum class Classifier { kNone, kIngress, kClsact };
absl::StatusOr<Classifier> FindClassifier(NetlinkSocket& socket, const NetworkLink& link);

// EEXIST if there is one of the two.
NetlinkMessage AddClsactRequest(const NetworkLink& link);
// Either of the two.
NetlinkMessage DeleteClassifierRequest(const NetworkLink& link);
absl::Status DeleteClassifier(NetlinkSocket& socket, const NetworkLink& link);

// One filter, on all EtherTypes, and what it does with a packet. At a hook the lowest priority is asked first.
struct TcRule {
  enum class Action {
    kPass,  // Goes on its way, its mark taken off.
    kDrop,
    kNothing,          // As if the filter were not there.
    kRedirectEgress,   // Leaves by another device instead.
    kRedirectIngress,  // Is received by another device instead.
  };

  TcHook hook = TcHook::kIngress;
  uint32_t priority = 1;
  std::optional<uint32_t> only_mark;  // Only packets with this mark (cls_fw); else all (cls_matchall).
  Action action = Action::kPass;
  int to_index = 0;                  // Of the other device. When that goes, a redirection drops.
  std::optional<uint32_t> set_mark;  // Before a redirection.
  std::string cookie;                // Whose it is; 16 bytes at most.
};
NetlinkMessage AddRuleRequest(const NetworkLink& link, const TcRule& rule);
NetlinkMessage DeleteRuleRequest(const NetworkLink& link, const TcRule& rule);
// Fails with ENODEV, ENOENT or EINVAL where device, qdisc or rule are gone.
NetlinkMessage ProbeRuleRequest(const NetworkLink& link, const TcRule& rule);

// FAILED_PRECONDITION, with the modules to load, where the kernel lacks a part of a rule. `what`: what was tried.
absl::Status ExplainRule(const NetlinkResult& result, const std::string& what, const TcRule& rule);
absl::Status ExplainClsact(const NetlinkResult& result, const NetworkLink& link);

// Whether the device, its qdisc, or the rule is gone: for a deletion as good as done.
bool SaysGone(const NetlinkResult& result);

struct FoundRule {
  TcHook hook = TcHook::kIngress;
  uint32_t priority = 0;
  std::string kind;    // "matchall", "fw", others'.
  std::string cookie;  // Of its first action; "" without one.
  int to_index = 0;    // Where its last action sends packets; 0: nowhere, or that device is gone.
};
// Of a device that has the hook.
absl::StatusOr<std::vector<FoundRule>> ListRules(NetlinkSocket& socket, const NetworkLink& link, TcHook hook);

}  // namespace romulus

#endif  // ROMULUS_NETBUF_TC_RULE_H_
