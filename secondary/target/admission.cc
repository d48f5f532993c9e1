#include "secondary/target/admission.h"

#include <errno.h>
#include <string.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/xen/control.h"
#include "secondary/target/domain_nodes.h"

namespace romulus {
namespace {

using replication::v1::DomainDescription;

constexpr uint64_t kMib = 1024;  // in KiB
// Xen's structures for a domain and its vCPUs; generous.
constexpr uint64_t kOverheadKib = 4 * kMib;
constexpr uint32_t kVcpuCountMax = 128;  // HVM_MAX_VCPUS
constexpr uint64_t kMemoryMaxKib = uint64_t{16} << 30;

uint64_t NeededKib(const DomainDescription& description) {
  return description.memory_target_kib() + PagingPoolKib(description) + kOverheadKib;
}

absl::StatusOr<uint64_t> FreeKib(xc_interface* xc) {
  xc_physinfo_t host{};
  if (xc_physinfo(xc, &host) != 0) {
    return absl::InternalError(absl::StrCat("can't ask the hypervisor for its free memory (errno ", errno, ")"));
  }
  const uint64_t free_pages = host.free_pages + host.scrub_pages;
  return 4 * (free_pages - std::min<uint64_t>(free_pages, host.outstanding_pages));
}

// A domain here that is, or looks like, the guest itself.
absl::Status RefuseCollision(xc_interface* xc, Xenstore& store, const DomainDescription& description) {
  constexpr uint32_t kBatch = 256;
  std::vector<xc_domaininfo_t> domains(kBatch);
  for (uint32_t first = 0;;) {
    const int count = xc_domain_getinfolist(xc, first, kBatch, domains.data());
    if (count < 0) return XenCallError("can't list the domains", first, errno);
    if (count == 0) return absl::OkStatus();
    for (int i = 0; i < count; ++i) {
      const xc_domaininfo_t& other = domains[i];
      const absl::StatusOr<std::string> name =
          store.ReadOr(absl::StrCat(XenstoreDomainPath(other.domain), "/name"), "");
      const std::string shown = name.ok() ? *name : "";
      if ((other.flags & XEN_DOMINF_dying) == 0 && memcmp(other.handle, description.uuid().data(), 16) == 0) {
        return absl::FailedPreconditionError(
            absl::StrCat("domain ", other.domain, " ('", shown, "') on this host has the guest's uuid ",
                         FormatUuid(description.uuid()),
                         ": a copy of the guest is already here; find out which copy is the right one, ",
                         "then end the other with `xl destroy`, or protect towards another host"));
      }
      if (!shown.empty() && (shown == description.name() || shown == StandbyName(description.name()))) {
        return absl::FailedPreconditionError(absl::StrCat("domain ", other.domain, " on this host is already called '",
                                                          shown, "': rename one of them (`xl rename`)"));
      }
    }
    first = domains[count - 1].domain + 1;
  }
}

}  // namespace

uint64_t PagingPoolKib(const DomainDescription& description) {
  const bool hap = (description.create_flags() & XEN_DOMCTL_CDF_hap) != 0;
  const uint64_t mib = description.memory_static_max_kib() / kMib;
  const uint64_t kib = 4 * (256 * uint64_t{description.vcpu_count()} + (hap ? 1 : 2) * mib);
  return (kib + kMib - 1) / kMib * kMib;
}

absl::Status NotEnoughMemory(xc_interface* xc, const DomainDescription& description) {
  const absl::StatusOr<uint64_t> free_kib = FreeKib(xc);
  if (!free_kib.ok()) return free_kib.status();
  return absl::ResourceExhaustedError(
      absl::StrCat("a standby of '", description.name(), "' needs ", NeededKib(description) / kMib,
                   " MiB, but this host has ", *free_kib / kMib,
                   " MiB free: destroy or shrink domains here, or boot Xen with a smaller dom0_mem (`xl mem-set "
                   "Domain-0` frees memory at once)"));
}

absl::Status ValidateDescription(const DomainDescription& description) {
  if (description.uuid().size() != 16) {
    return absl::InvalidArgumentError(
        absl::StrCat("the domain's uuid has ", description.uuid().size(), " bytes instead of 16"));
  }
  if (description.name().empty() || description.name().find('/') != std::string::npos ||
      description.name().size() > 255) {
    return absl::InvalidArgumentError(absl::StrCat("'", description.name(), "' is no domain name"));
  }
  if (description.type() != replication::v1::PVH) {
    return absl::FailedPreconditionError(
        absl::StrCat("'", description.name(), "' is not a PVH guest: this version takes standbys of PVH guests only"));
  }
  if ((description.create_flags() & (XEN_DOMCTL_CDF_hvm | XEN_DOMCTL_CDF_hap)) !=
      (XEN_DOMCTL_CDF_hvm | XEN_DOMCTL_CDF_hap)) {
    return absl::FailedPreconditionError(
        absl::StrCat("'", description.name(), "' does not use hardware-assisted paging (hap=1): standbys need it"));
  }
  if (description.vcpu_count() < 1 || description.vcpu_count() > kVcpuCountMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(description.vcpu_count(), " vCPUs are not between 1 and ", kVcpuCountMax));
  }
  if (description.memory_target_kib() == 0 || description.memory_static_max_kib() < description.memory_target_kib() ||
      description.memory_static_max_kib() > kMemoryMaxKib || description.memory_max_kib() > kMemoryMaxKib) {
    return absl::InvalidArgumentError(absl::StrCat("memory of ", description.memory_target_kib(), " KiB (static-max ",
                                                   description.memory_static_max_kib(), ", max ",
                                                   description.memory_max_kib(), ") makes no sense"));
  }
  if (!description.vbds().empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("'", description.name(), "' has block devices: their replication is not there yet"));
  }
  return absl::OkStatus();
}

absl::Status AdmitStandby(xc_interface* xc, Xenstore& store, const DomainDescription& description) {
  if (absl::Status status = ValidateDescription(description); !status.ok()) return status;
  if (absl::Status status = RefuseCollision(xc, store, description); !status.ok()) return status;
  const absl::StatusOr<uint64_t> free_kib = FreeKib(xc);
  if (!free_kib.ok()) return free_kib.status();
  if (*free_kib < NeededKib(description)) return NotEnoughMemory(xc, description);
  return absl::OkStatus();
}

}  // namespace romulus
