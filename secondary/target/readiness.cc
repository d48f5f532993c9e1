#include "secondary/target/readiness.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/xen/control.h"
#include "common/xen/tool_logger.h"
#include "common/xen/xenstore.h"
#include "netbuf/kernel_support.h"

namespace romulus {
namespace {

using control::v1::ReadinessCheck;

constexpr uint64_t kUsefulMemoryMib = 64;

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
  if (!store.ok()) {
    return Check(
        "xenstored", false, std::string(store.status().message()),
        "boot this host under Xen, start the xenstored service (`systemctl start xen`), run the agent as root");
  }
  // Only a privileged connection may read this.
  const absl::StatusOr<std::vector<std::string>> domains = (*store)->List("/local/domain");
  return Check("xenstored", domains.ok(), domains.ok() ? "reachable" : std::string(domains.status().message()),
               "run the agent as root in dom0");
}

// The kernel module, built in or loaded.
ReadinessCheck CheckNetback() {
  const bool there = std::filesystem::exists("/sys/bus/xen-backend/drivers/vif");
  return Check("kernel-module-xen-netback", there,
               there ? "serves network backends" : "no vif backend driver is loaded",
               "modprobe xen-netback, and name it in /etc/modules");
}

ReadinessCheck CheckBridge() {
  std::vector<std::string> bridges;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/net", ignored)) {
    if (std::filesystem::exists(entry.path() / "bridge", ignored)) bridges.push_back(entry.path().filename());
  }
  return Check("network-bridge", !bridges.empty(),
               bridges.empty() ? "this host has no network bridge" : absl::StrJoin(bridges, ", "),
               "create a bridge of the same name as the guests' bridge on the primary host");
}

ReadinessCheck CheckHelper(const std::string& path) {
  const bool there = access(path.c_str(), X_OK) == 0;
  return Check("restore-helper", there, there ? path : absl::StrCat("can't run ", path, ": ", strerror(errno)),
               "install romulus-restore-helper of the agent's own build there, or name its place to the agent");
}

// A host without it keeps standbys in stream mode REMUS.
ReadinessCheck ForLockstep(const KernelRequirement& requirement) {
  ReadinessCheck check = Check(absl::StrCat("lockstep-kernel-", absl::StrReplaceAll(requirement.name, {{" ", "-"}})),
                               requirement.holds, requirement.finding, requirement.remedy);
  check.set_optional(true);
  return check;
}

}  // namespace

std::vector<ReadinessCheck> CheckStandbyReadiness(const std::string& restore_helper) {
  std::vector<ReadinessCheck> checks = {CheckXenstore(), CheckNetback(), CheckBridge(), CheckHelper(restore_helper)};
  for (const KernelRequirement& requirement : CheckGuestTapSupport()) checks.push_back(ForLockstep(requirement));

  const ToolLoggerHandle silent = NewToolLogger([](xentoollog_level, const std::string&) {});
  const absl::StatusOr<XcInterface> xc = OpenXenControl(silent.get());
  xc_physinfo_t host{};
  const bool answers = xc.ok() && xc_physinfo(xc->get(), &host) == 0;
  checks.push_back(Check("hypervisor-control", answers,
                         answers   ? "reachable"
                         : xc.ok() ? "the hypervisor refuses to tell about itself: libxenctrl and Xen do not fit"
                                   : std::string(xc.status().message()),
                         "boot this host under Xen 4.17, load xen-privcmd and xenfs, run the agent as root"));
  if (!answers) return checks;

  const bool hap = (host.capabilities & XEN_SYSCTL_PHYSCAP_hap) != 0;
  checks.push_back(Check("hardware-assisted-paging", hap, hap ? "the processor has it" : "missing",
                         "use a host with EPT (Intel) or NPT (AMD), enabled in its firmware"));
  const uint64_t free_mib = (host.free_pages + host.scrub_pages) / 256;
  checks.push_back(Check("free-memory", free_mib >= kUsefulMemoryMib,
                         absl::StrCat(free_mib, " MiB free for standbys, each as big as its guest"),
                         "boot Xen with a smaller dom0_mem, or `xl mem-set Domain-0`"));
  return checks;
}

}  // namespace romulus
