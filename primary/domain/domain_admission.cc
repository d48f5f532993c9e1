#include "primary/domain/domain_admission.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace romulus {
namespace {

using replication::v1::DomainDescription;

template <typename... Args>
absl::Status Refuse(const DomainDescription& domain, const Args&... why) {
  return absl::FailedPreconditionError(
      absl::StrCat("domain '", domain.name(), "' (id ", domain.domid(), ") can't be protected: ", why...));
}

absl::Status AdmitType(const DomainDescription& domain, const DomainCircumstances& circumstances) {
  switch (domain.type()) {
    case replication::v1::PVH:
      return absl::OkStatus();
    case replication::v1::PV:
      if (!circumstances.hypervisor_has_shadow_paging) {
        return Refuse(domain,
                      "it is a PV guest, and this hypervisor is built without shadow paging, so it can't track a PV "
                      "guest's dirty pages. Make it a PVH guest (type=\"pvh\" in its configuration)");
      }
      return Refuse(domain, "PV guests are not supported yet. Make it a PVH guest (type=\"pvh\" in its configuration)");
    case replication::v1::HVM:
      return Refuse(domain,
                    "it is an HVM guest, whose device model's state is not replicated yet. Make it a PVH guest "
                    "(type=\"pvh\" in its configuration)");
    default:
      return Refuse(domain, "its type is unknown");
  }
}

absl::Status AdmitDevices(const DomainDescription& domain, const DomainCircumstances& circumstances) {
  for (const replication::v1::Vbd& vbd : domain.vbds()) {
    if (!vbd.read_only()) {
      return Refuse(domain, "its disk ", vbd.name(), " (", vbd.params(),
                    ") is writable, and disks are not replicated yet: after a takeover its contents would not fit the "
                    "guest's memory. Detach it, or attach it read-only from storage that both hosts have");
    }
  }
  for (const std::string& device : circumstances.other_devices) {
    if (device == "pci") {
      return Refuse(domain,
                    "it has a passed-through PCI device, whose state can't be copied. Detach it (xl pci-detach)");
    }
  }
  if (!circumstances.other_devices.empty()) {
    return Refuse(domain, "it has devices of kinds that can't be moved to another host yet: ",
                  absl::StrJoin(circumstances.other_devices, ", "), ". Remove them from its configuration");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status AdmitForProtection(const DomainDescription& domain, const DomainCircumstances& circumstances) {
  if (absl::Status status = AdmitType(domain, circumstances); !status.ok()) return status;
  if (absl::Status status = AdmitDevices(domain, circumstances); !status.ok()) return status;
  const uint64_t settled = domain.memory_target_kib() + domain.video_memory_kib();
  if (domain.memory_target_kib() != 0 && settled != domain.memory_static_max_kib()) {
    return Refuse(domain, "its memory is ballooned: ", domain.memory_target_kib() / 1024, " of ",
                  domain.memory_static_max_kib() / 1024, " MiB. Set it to its maximum: xl mem-set ", domain.domid(),
                  " ", domain.memory_static_max_kib() / 1024, "m");
  }
  return absl::OkStatus();
}

}  // namespace romulus
