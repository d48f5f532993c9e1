#include "netbuf/kernel_support.h"

#include <errno.h>
#include <sched.h>

#include <cstring>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "netbuf/ifb_link.h"
#include "netbuf/netlink_socket.h"
#include "netbuf/network_link.h"
#include "netbuf/plug_qdisc.h"
#include "netbuf/redirect_filter.h"

namespace romulus {
namespace {

constexpr uint32_t kAnyLimit = 1 << 20;
constexpr char kPrivilege[] = "network privilege";
constexpr char kIfb[] = "ifb";
constexpr char kPlug[] = "sch_plug";
constexpr char kIngress[] = "sch_ingress";
constexpr char kMatchall[] = "cls_matchall";
constexpr char kMirred[] = "act_mirred";

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

void TryRedirection(NetlinkSocket& socket, const NetworkLink& from, const NetworkLink& to, Findings& findings) {
  if (!findings.Add(kIngress, AddIngress(socket, from))) {
    findings.AddUntried(kMatchall, kIngress);
    findings.AddUntried(kMirred, kIngress);
    return;
  }
  if (!findings.Add(kMatchall, TryMatchall(socket, from))) {
    findings.AddUntried(kMirred, kMatchall);
    return;
  }
  findings.Add(kMirred, AddRedirectFilter(socket, from, to));
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

}  // namespace

std::vector<KernelRequirement> CheckKernelSupport() {
  std::vector<KernelRequirement> requirements;
  // The namespace is the thread's; the kernel takes it apart, with all in it, when the thread has ended.
  std::thread([&requirements] {
    Findings findings;
    const int error = unshare(CLONE_NEWNET) == 0 ? 0 : errno;
    findings.AddPrivilege(error);
    if (error == 0) {
      requirements = TryHere();
    } else {
      for (const char* name : {kIfb, kPlug, kIngress, kMatchall, kMirred}) findings.AddUntried(name, kPrivilege);
    }
    std::vector<KernelRequirement> privilege = findings.Take();
    requirements.insert(requirements.begin(), privilege.begin(), privilege.end());
  }).join();
  return requirements;
}

}  // namespace romulus
