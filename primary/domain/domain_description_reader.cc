#include "primary/domain/domain_description_reader.h"

#include <errno.h>

#include <cstdint>
#include <fstream>
#include <iterator>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/xen/control.h"
#include "primary/domain/device_nodes.h"
#include "primary/domain/domain_admission.h"

namespace romulus {
namespace {

using replication::v1::DomainDescription;

constexpr uint64_t kPageKib = 4;
// libxl's userdata for a configuration of hundreds of devices stays far below this.
constexpr size_t kLargestJson = 1 << 20;

std::string UuidBytes(const xc_domaininfo_t& info) {
  return std::string(reinterpret_cast<const char*>(info.handle), sizeof(info.handle));
}

std::string UuidText(const std::string& bytes) {
  const std::string hex = absl::BytesToHexString(bytes);
  return absl::StrCat(hex.substr(0, 8), "-", hex.substr(8, 4), "-", hex.substr(12, 4), "-", hex.substr(16, 4), "-",
                      hex.substr(20));
}

absl::StatusOr<std::vector<xc_domaininfo_t>> ListInfo(xc_interface* xc) {
  std::vector<xc_domaininfo_t> all;
  uint32_t first = 0;
  while (true) {
    xc_domaininfo_t batch[64];
    const int count = xc_domain_getinfolist(xc, first, 64, batch);
    if (count < 0) return XenCallError("can't list the domains", first, errno);
    if (count == 0) return all;
    all.insert(all.end(), batch, batch + count);
    first = batch[count - 1].domain + 1;
  }
}

std::string ReadUserdata(uint32_t domid, const std::string& uuid) {
  std::ifstream file(absl::StrCat("/var/lib/xen/userdata-d.", domid, ".", uuid, ".libxl-json"), std::ios::binary);
  std::string json((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return json.size() <= kLargestJson ? json : std::string();
}

replication::v1::DomainType TypeOf(const xc_domaininfo_t& info, const std::string& libxl_type) {
  if ((info.flags & XEN_DOMINF_hvm_guest) == 0) return replication::v1::PV;
  if (libxl_type == "pvh") return replication::v1::PVH;
  if (libxl_type == "hvm") return replication::v1::HVM;
  // Not libxl's: an emulated timer, PIC or card makes it an HVM guest.
  return info.arch_config.emulation_flags == XEN_X86_EMU_LAPIC ? replication::v1::PVH : replication::v1::HVM;
}

absl::Status FillFromHypervisor(xc_interface* xc, const xc_domaininfo_t& info, DomainDescription& domain) {
  const uint32_t domid = info.domain;
  domain.set_domid(domid);
  domain.set_uuid(UuidBytes(info));
  domain.set_vcpu_count(info.max_vcpu_id + 1);
  domain.set_memory_max_kib(info.max_pages * kPageKib);
  uint32_t create_flags = 0;
  if ((info.flags & XEN_DOMINF_hvm_guest) != 0) create_flags |= XEN_DOMCTL_CDF_hvm;
  if ((info.flags & XEN_DOMINF_hap) != 0) create_flags |= XEN_DOMCTL_CDF_hap;
  domain.set_create_flags(create_flags);
  domain.set_emulation_flags(info.arch_config.emulation_flags);

  xen_pfn_t gpfn_count = 0;
  if (xc_domain_nr_gpfns(xc, domid, &gpfn_count) != 0) {
    return XenCallError("can't read the highest frame number", domid, errno);
  }
  domain.set_gpfn_count(gpfn_count);
  uint32_t tsc_mode = 0, tsc_khz = 0, incarnation = 0;
  uint64_t elapsed_ns = 0;
  if (xc_domain_get_tsc_info(xc, domid, &tsc_mode, &elapsed_ns, &tsc_khz, &incarnation) != 0) {
    return XenCallError("can't read the TSC mode", domid, errno);
  }
  domain.set_tsc_mode(tsc_mode);
  return absl::OkStatus();
}

absl::StatusOr<bool> HasShadowPaging(xc_interface* xc) {
  xc_physinfo_t info{};
  if (xc_physinfo(xc, &info) != 0) return XenCallError("can't read the host's abilities", 0, errno);
  return (info.capabilities & XEN_SYSCTL_PHYSCAP_shadow) != 0;
}

absl::Status CheckRunning(const xc_domaininfo_t& info, const std::string& name) {
  if ((info.flags & XEN_DOMINF_dying) != 0) {
    return absl::NotFoundError(absl::StrCat("domain '", name, "' (id ", info.domain, ") is being destroyed"));
  }
  if ((info.flags & XEN_DOMINF_shutdown) == 0) return absl::OkStatus();
  const unsigned reason = (info.flags >> XEN_DOMINF_shutdownshift) & XEN_DOMINF_shutdownmask;
  if (reason == SHUTDOWN_suspend) {
    return absl::FailedPreconditionError(absl::StrCat(
        "domain '", name, "' (id ", info.domain,
        ") is suspended: it is just being saved or migrated, or a save was cut off. Wait, or resume it with romulus"));
  }
  return absl::NotFoundError(
      absl::StrCat("domain '", name, "' (id ", info.domain, ") has shut down (reason ", reason, ")"));
}

}  // namespace

absl::StatusOr<std::vector<DomainIdentity>> DomainDescriptionReader::ListDomains() const {
  const absl::StatusOr<std::vector<xc_domaininfo_t>> all = ListInfo(xc_);
  if (!all.ok()) return all.status();
  std::vector<DomainIdentity> domains;
  for (const xc_domaininfo_t& info : *all) {
    const absl::StatusOr<std::string> name =
        store_->ReadOr(XenstoreDomainPath(info.domain) + "/name", info.domain == 0 ? "Domain-0" : "");
    if (!name.ok()) return name.status();
    domains.push_back({info.domain, UuidText(UuidBytes(info)), *name});
  }
  return domains;
}

absl::StatusOr<DomainDescription> DomainDescriptionReader::Read(const std::string& wanted) const {
  const absl::StatusOr<std::vector<DomainIdentity>> domains = ListDomains();
  if (!domains.ok()) return domains.status();
  const absl::StatusOr<DomainIdentity> identity = FindDomain(wanted, *domains);
  if (!identity.ok()) return identity.status();

  xc_domaininfo_t info{};
  const int count = xc_domain_getinfolist(xc_, identity->domid, 1, &info);
  if (count < 0) return XenCallError("can't read the domain's state", identity->domid, errno);
  if (count == 0 || info.domain != identity->domid) {
    return absl::NotFoundError(absl::StrCat("domain '", identity->name, "' has just ended"));
  }
  if (absl::Status running = CheckRunning(info, identity->name); !running.ok()) return running;

  DomainDescription domain;
  domain.set_name(identity->name);
  if (absl::Status status = FillFromHypervisor(xc_, info, domain); !status.ok()) return status;
  DomainCircumstances circumstances;
  absl::Status status = FillFromXenstore(*store_, domain, circumstances.other_devices);
  if (!status.ok()) return status;
  const absl::StatusOr<std::string> type = store_->ReadOr(absl::StrCat("/libxl/", identity->domid, "/type"), "");
  if (!type.ok()) return type.status();
  domain.set_type(TypeOf(info, *type));
  const absl::StatusOr<bool> shadow = HasShadowPaging(xc_);
  if (!shadow.ok()) return shadow.status();
  circumstances.hypervisor_has_shadow_paging = *shadow;
  if (absl::Status admitted = AdmitForProtection(domain, circumstances); !admitted.ok()) return admitted;
  domain.set_libxl_json(ReadUserdata(identity->domid, identity->uuid));
  return domain;
}

}  // namespace romulus
