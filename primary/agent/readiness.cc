#include "primary/agent/readiness.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/xen/control.h"
#include "common/xen/host_report.h"
#include "common/xen/xenstore.h"
#include "netbuf/kernel_support.h"

namespace romulus {
namespace {

using control::v1::ReadinessCheck;

ReadinessCheck Check(const std::string& name, bool holds, const std::string& finding, const std::string& remedy) {
  ReadinessCheck check;
  check.set_name(name);
  check.set_holds(holds);
  check.set_finding(finding);
  if (!holds) check.set_remedy(remedy);
  return check;
}

ReadinessCheck CheckXenstore() {
  const absl::StatusOr<std::unique_ptr<Xenstore>> store = Xenstore::Open();
  return Check("xenstored", store.ok(), store.ok() ? "reachable" : std::string(store.status().message()),
               "boot this host under Xen, start xenstored (`systemctl start xen`), run the agent as root");
}

ReadinessCheck CheckHelper(const std::string& path) {
  const bool there = access(path.c_str(), X_OK) == 0;
  return Check("save-helper", there, there ? path : absl::StrCat("can't run ", path, ": ", strerror(errno)),
               "install romulus-save-helper of the agent's own build there, or name its place with --save_helper");
}

// A checkpoint is sent in a burst after a pause that TCP takes for idleness: it would begin each with a few packets.
ReadinessCheck CheckSlowStart() {
  std::ifstream file("/proc/sys/net/ipv4/tcp_slow_start_after_idle");
  std::string value;
  file >> value;
  ReadinessCheck check = Check("tcp-slow-start-after-idle", value == "0",
                               value == "0" ? "off" : "on: every checkpoint is sent slowly at first",
                               "sysctl -w net.ipv4.tcp_slow_start_after_idle=0, and the same in /etc/sysctl.d");
  check.set_optional(true);
  return check;
}

// A host without it protects its guests in stream mode REMUS.
ReadinessCheck ForLockstep(const KernelRequirement& requirement) {
  ReadinessCheck check = Check(absl::StrCat("lockstep-kernel-", absl::StrReplaceAll(requirement.name, {{" ", "-"}})),
                               requirement.holds, requirement.finding, requirement.remedy);
  check.set_optional(true);
  return check;
}

}  // namespace

std::vector<ReadinessCheck> CheckProtectionReadiness(const std::string& save_helper) {
  std::vector<ReadinessCheck> checks = {CheckXenstore(), CheckHelper(save_helper), CheckSlowStart()};
  for (const KernelRequirement& requirement : CheckKernelSupport()) {
    checks.push_back(Check(absl::StrCat("kernel-", absl::StrReplaceAll(requirement.name, {{" ", "-"}})),
                           requirement.holds, requirement.finding, requirement.remedy));
  }
  for (const KernelRequirement& requirement : CheckGuestTapSupport()) checks.push_back(ForLockstep(requirement));
  const absl::StatusOr<control::v1::Host> host = ReportHost(control::v1::Host::PRIMARY);
  checks.push_back(Check("hypervisor-control", host.ok(),
                         host.ok() ? absl::StrCat("Xen ", host->xen_version()) : std::string(host.status().message()),
                         "boot this host under Xen 4.17, load xen-privcmd and xenfs, run the agent as root"));
  if (host.ok()) {
    const bool hap = host->hardware_assisted_paging();
    checks.push_back(Check("hardware-assisted-paging", hap, hap ? "the processor has it" : "missing",
                           "use a host with EPT (Intel) or NPT (AMD), enabled in its firmware"));
  }
  return checks;
}

}  // namespace romulus
