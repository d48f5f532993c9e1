#include "netbuf/kernel_support.h"

#include <errno.h>
#include <sched.h>

#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "netbuf/frame_tap.h"
#include "netbuf/ifb_link.h"
#include "netbuf/netlink_socket.h"
#include "netbuf/network_link.h"
#include "netbuf/plug_qdisc.h"
#include "netbuf/redirect_filter.h"
#include "netbuf/tc_rule.h"

namespace romulus {
namespace {

constexpr uint32_t kAnyLimit = 1 << 20;
constexpr char kPrivilege[] = "network privilege";
constexpr char kIfb[] = "ifb";
constexpr char kPlug[] = "sch_plug";
constexpr char kIngress[] = "sch_ingress";
constexpr char kMatchall[] = "cls_matchall";
constexpr char kMirred[] = "act_mirred";
constexpr char kTun[] = "tun";
constexpr char kFw[] = "cls_fw";
constexpr char kSkbedit[] = "act_skbedit";
constexpr uint32_t kAnyMark = 1;

class Findings {
 public:
  // Returns whether it holds.
  bool Add(const std::string& name, const absl::Status& status) {
    KernelRequirement requirement{.name = name, .holds = status.ok(), .finding = "works"};
    if (!status.ok()) {
      requirement.finding = std::string(status.message());
      requirement.remedy = absl::StrCat("modprobe ", name, ", and name it in /etc/modules-load.d/romulus.conf");
    }
    requirements_.push_back(std::move(requirement));
    return status.ok();
  }
  void AddPrivilege(int error) {
    requirements_.push_back({.name = kPrivilege, .holds = error == 0, .finding = "may make network devices"});
    if (error == 0) return;
    requirements_.back().finding = absl::StrCat("making a network namespace: ", strerror(error));
    requirements_.back().remedy = "run the agent as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN";
  }
  void AddUntried(const std::string& name, const std::string& without) {
    requirements_.push_back({.name = name,
                             .finding = absl::StrCat("could not be tried without ", without),
                             .remedy = absl::StrCat("mend ", without, " first")});
  }
  std::vector<KernelRequirement> Take() { return std::move(requirements_); }

 private:
  std::vector<KernelRequirement> requirements_;
};

absl::Status TryClsact(NetlinkSocket& socket, const NetworkLink& link) {
  NetlinkMessage request = AddClsactRequest(link);
  return ExplainClsact(socket.Transact(request), link);
}

// One that does nothing.
absl::Status TryMatchall(NetlinkSocket& socket, const NetworkLink& link) {
  const TcRule nothing{.priority = 2, .action = TcRule::Action::kNothing};
  NetlinkMessage request = AddRuleRequest(link, nothing);
  return ExplainRule(socket.Transact(request), "adding a matchall filter", nothing);
}

absl::Status TryRule(NetlinkSocket& socket, const NetworkLink& link, const std::string& what, const TcRule& rule) {
  NetlinkMessage request = AddRuleRequest(link, rule);
  return ExplainRule(socket.Transact(request), absl::StrCat("adding a filter ", what), rule);
}

// Returns whether all of it holds.
bool TryRedirection(NetlinkSocket& socket, const NetworkLink& from, const NetworkLink& to, Findings& findings) {
  if (!findings.Add(kIngress, TryClsact(socket, from))) {
    findings.AddUntried(kMatchall, kIngress);
    findings.AddUntried(kMirred, kIngress);
    return false;
  }
  if (!findings.Add(kMatchall, TryMatchall(socket, from))) {
    findings.AddUntried(kMirred, kMatchall);
    return false;
  }
  return findings.Add(kMirred, TryRule(socket, from, "that redirects", RedirectRule(to, true)));
}

std::vector<KernelRequirement> TryHere() {
  Findings findings;
  absl::StatusOr<std::unique_ptr<NetlinkSocket>> socket = NetlinkSocket::Open();
  if (!socket.ok()) {
    findings.Add(kIfb, socket.status());
    return findings.Take();
  }
  const NetworkLink like_a_vif{.mtu = 1500};
  absl::StatusOr<NetworkLink> from = CreateIfb(**socket, "probe-vif", "probe", like_a_vif);
  absl::StatusOr<NetworkLink> to = from.ok() ? CreateIfb(**socket, "probe-ifb", "probe", like_a_vif) : from;
  if (!findings.Add(kIfb, to.status())) {
    for (const char* name : {kPlug, kIngress, kMatchall, kMirred}) findings.AddUntried(name, kIfb);
    return findings.Take();
  }
  findings.Add(kPlug, AddPassingPlug(**socket, *to, kAnyLimit));
  TryRedirection(**socket, *from, *to, findings);
  return findings.Take();
}

std::vector<KernelRequirement> TryTapsHere() {
  Findings findings;
  const std::vector<const char*> after_tun = {kIngress, kMatchall, kMirred, kSkbedit, kFw};
  absl::StatusOr<std::unique_ptr<NetlinkSocket>> socket = NetlinkSocket::Open();
  const NetworkLink like_a_vif{.address = std::string("\x02\0\0\0\0\1", 6), .mtu = 1500};
  absl::StatusOr<std::unique_ptr<FrameTap>> tap;
  if (socket.ok()) {
    tap = FrameTap::New(**socket, "probe-tap", like_a_vif);
  } else {
    tap = socket.status();
  }
  if (!findings.Add(kTun, tap.status())) {
    for (const char* name : after_tun) findings.AddUntried(name, kTun);
    return findings.Take();
  }
  const NetworkLink& link = (*tap)->link();
  if (!TryRedirection(**socket, link, link, findings)) {
    for (const char* name : {kSkbedit, kFw}) findings.AddUntried(name, kMirred);
    return findings.Take();
  }
  const TcRule marks{.priority = 3, .action = TcRule::Action::kDrop};
  const TcRule classifies{.priority = 4, .only_mark = kAnyMark, .action = TcRule::Action::kPass};
  if (findings.Add(kSkbedit, TryRule(**socket, link, "that marks", marks))) {
    findings.Add(kFw, TryRule(**socket, link, "on a mark", classifies));
  } else {
    findings.AddUntried(kFw, kSkbedit);
  }
  return findings.Take();
}

// The namespace is the thread's; the kernel takes it apart, with all in it, when the thread has ended.
std::vector<KernelRequirement> TryInANamespace(const std::function<std::vector<KernelRequirement>()>& try_here,
                                               const std::vector<const char*>& names) {
  std::vector<KernelRequirement> requirements;
  std::thread([&] {
    Findings findings;
    const int error = unshare(CLONE_NEWNET) == 0 ? 0 : errno;
    findings.AddPrivilege(error);
    if (error == 0) {
      requirements = try_here();
    } else {
      for (const char* name : names) findings.AddUntried(name, kPrivilege);
    }
    std::vector<KernelRequirement> privilege = findings.Take();
    requirements.insert(requirements.begin(), privilege.begin(), privilege.end());
  }).join();
  return requirements;
}

}  // namespace

std::vector<KernelRequirement> CheckKernelSupport() {
  return TryInANamespace(TryHere, {kIfb, kPlug, kIngress, kMatchall, kMirred});
}

std::vector<KernelRequirement> CheckGuestTapSupport() {
  return TryInANamespace(TryTapsHere, {kTun, kIngress, kMatchall, kMirred, kSkbedit, kFw});
}

}  // namespace romulus
