#include "secondary/target/standby_domain.h"

#include <errno.h>
#include <string.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/log.h"
#include "common/base/monotonic_time.h"
#include "common/xen/control.h"
#include "secondary/target/admission.h"
#include "secondary/target/libxl_userdata.h"

extern "C" {
#include <xen/hvm/params.h>
}

namespace romulus {
namespace {

using replication::v1::DomainDescription;

constexpr uint32_t kEventChannelPortMax = 1023;  // libxl's default
constexpr uint64_t kDefaultConstantKib = 1024;   // LIBXL_MAXMEM_CONSTANT
constexpr uint64_t kNoDelayForMissedTicks = 1;   // libxl's default timer mode
constexpr uint64_t kPageKib = 4;
// Special pages and holes: those of a PVH guest end at 4 GiB, or behind the memory.
constexpr uint64_t kFramesBesideMemoryMax = uint64_t{2} << 20;

uint32_t NewestGrantVersion(xc_interface* xc) {
  xc_physinfo_t host{};
  if (xc_physinfo(xc, &host) != 0) return 1;
  return (host.capabilities & XEN_SYSCTL_PHYSCAP_gnttab_v2) != 0 ? 2 : 1;
}

// `domid` 0: any.
absl::StatusOr<uint32_t> CreateDomain(xc_interface* xc, const DomainDescription& description, uint32_t domid) {
  xen_domctl_createdomain create{};
  memcpy(create.handle, description.uuid().data(), sizeof(create.handle));
  create.flags = description.create_flags();
  create.max_vcpus = description.vcpu_count();
  create.max_evtchn_port = kEventChannelPortMax;
  create.max_grant_frames = -1;
  create.max_maptrack_frames = -1;
  create.grant_opts = XEN_DOMCTL_GRANT_version(NewestGrantVersion(xc));
  create.arch.emulation_flags = description.emulation_flags();
  const uint32_t wanted = domid;
  if (xc_domain_create(xc, &domid, &create) != 0) {
    const int error = errno;
    if (error == EEXIST && wanted != 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("'", description.name(), "' is domain ", wanted,
                       " on its primary host, and lockstep needs the same id here, where another domain has it (or "
                       "had it, and is not gone completely: `xl list`). Restart that one, or the guest, so that its id "
                       "is another, or protect it in stream mode REMUS"));
    }
    return absl::FailedPreconditionError(absl::StrCat(
        "the hypervisor refuses to create a domain for '", description.name(), "' with ", description.vcpu_count(),
        " vCPUs, flags ", description.create_flags(), " and emulation ", description.emulation_flags(), ": ",
        strerror(error), " (errno ", error, "); does this host's Xen fit the primary's?"));
  }
  return domid;
}

absl::StatusOr<uint32_t> AllocatePort(xc_interface* xc, uint32_t domid, uint32_t remote) {
  const int port = xc_evtchn_alloc_unbound(xc, domid, remote);
  if (port < 0) return XenCallError("can't allocate an event channel", domid, errno);
  return port;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StandbyDomain>> StandbyDomain::Create(xc_interface* xc, Xenstore& store,
                                                                     const DomainDescription& description,
                                                                     bool lockstep) {
  if (lockstep && description.domid() == 0) {
    return absl::InvalidArgumentError(absl::StrCat("'", description.name(), "' comes without its domain id"));
  }
  if (absl::Status status = AdmitStandby(xc, store, description); !status.ok()) return status;
  const absl::StatusOr<uint32_t> domid = CreateDomain(xc, description, lockstep ? description.domid() : 0);
  if (!domid.ok()) return domid.status();
  StandbyDomainIds ids;
  ids.domid = *domid;
  std::unique_ptr<StandbyDomain> standby(new StandbyDomain(xc, store, description, ids));
  if (absl::Status status = standby->Build(lockstep); !status.ok()) {
    if (absl::Status destroyed = standby->Destroy(); !destroyed.ok()) LogError(destroyed.message());
    return status;
  }
  return standby;
}

StandbyDomain::StandbyDomain(xc_interface* xc, Xenstore& store, const DomainDescription& description,
                             StandbyDomainIds ids)
    : xc_(xc), store_(store), description_(description), uuid_(FormatUuid(description.uuid())), ids_(ids) {}

// The order and the figures are those of libxl's libxl__build_pre and libxl__arch_domain_create (4.17).
absl::Status StandbyDomain::Build(bool lockstep) {
  const uint32_t domid = ids_.domid;
  if (xc_domain_max_vcpus(xc_, domid, description_.vcpu_count()) != 0) {
    return XenCallError("can't set the number of vCPUs", domid, errno);
  }
  const uint64_t memory_max_kib =
      std::max(description_.memory_max_kib(), description_.memory_target_kib() + kDefaultConstantKib);
  if (xc_domain_setmaxmem(xc_, domid, memory_max_kib) != 0) {
    return XenCallError("can't set the maximum memory", domid, errno);
  }
  if (absl::StatusOr<uint64_t> id = store_.ReadNumber("/tool/xenstored/domid"); id.ok()) ids_.store_domid = *id;
  if (absl::StatusOr<uint64_t> id = store_.ReadNumber("/tool/xenconsoled/domid"); id.ok()) ids_.console_domid = *id;
  absl::StatusOr<uint32_t> store_port = AllocatePort(xc_, domid, ids_.store_domid);
  if (!store_port.ok()) return store_port.status();
  ids_.store_port = *store_port;
  absl::StatusOr<uint32_t> console_port = AllocatePort(xc_, domid, ids_.console_domid);
  if (!console_port.ok()) return console_port.status();
  ids_.console_port = *console_port;

  if (xc_hvm_param_set(xc_, domid, HVM_PARAM_TIMER_MODE, kNoDelayForMissedTicks) != 0 ||
      xc_hvm_param_set(xc_, domid, HVM_PARAM_ALTP2M, 0) != 0) {
    return XenCallError("can't set the HVM parameters", domid, errno);
  }
  if (xc_domain_set_tsc_info(xc_, domid, description_.tsc_mode(), 0, 0, 0) != 0) {
    return XenCallError(absl::StrCat("can't set TSC mode ", description_.tsc_mode()), domid, errno);
  }
  if (xc_set_paging_mempool_size(xc_, domid, PagingPoolKib(description_) * 1024) != 0) {
    return XenCallError(absl::StrCat("can't reserve ", PagingPoolKib(description_), " KiB for its page tables"), domid,
                        errno);
  }
  if (lockstep) {
    if (absl::Status status = RaiseFrameLimit(); !status.ok()) return status;
  }
  // Without the claim other domains could take the memory between the check and the first copy.
  if (xc_domain_claim_pages(xc_, domid, description_.memory_target_kib() / kPageKib) != 0) {
    if (errno != ENOMEM) return XenCallError("can't claim memory", domid, errno);
    return NotEnoughMemory(xc_, description_);
  }
  if (absl::Status status = WriteStandbyNodes(store_, ids_, description_); !status.ok()) return status;
  if (description_.libxl_json().empty()) return absl::OkStatus();
  return StoreLibxlJson(domid, uuid_, description_.libxl_json());
}

// libxenguest asks for the highest frame number before it fills the domain, and looks for dirty pages below that only:
// in an empty domain for none at all, without a word. Xen never forgets the highest one that was in use.
absl::Status StandbyDomain::RaiseFrameLimit() {
  const uint64_t frames_max = description_.memory_static_max_kib() / kPageKib + kFramesBesideMemoryMax;
  if (description_.gpfn_count() == 0 || description_.gpfn_count() > frames_max) {
    return absl::InvalidArgumentError(absl::StrCat(description_.gpfn_count(), " page frames make no sense for ",
                                                   description_.memory_static_max_kib(), " KiB of memory"));
  }
  xen_pfn_t last = description_.gpfn_count() - 1;
  if (xc_domain_populate_physmap_exact(xc_, ids_.domid, 1, 0, 0, &last) != 0 ||
      xc_domain_decrease_reservation_exact(xc_, ids_.domid, 1, 0, &last) != 0) {
    return XenCallError(absl::StrCat("can't make room for page frame ", last), ids_.domid, errno);
  }
  return absl::OkStatus();
}

absl::Status StandbyDomain::Halt() {
  if (xc_domain_pause(xc_, ids_.domid) != 0) return XenCallError("can't pause the standby", ids_.domid, errno);
  return absl::OkStatus();
}

absl::Status StandbyDomain::Unfreeze() {
  xc_domaininfo_t info{};
  if (xc_domain_getinfolist(xc_, ids_.domid, 1, &info) != 1 || info.domain != ids_.domid) {
    return absl::NotFoundError(absl::StrCat("domain ", ids_.domid, " is gone"));
  }
  if ((info.flags & XEN_DOMINF_paused) == 0) return absl::OkStatus();
  if (xc_domain_unpause(xc_, ids_.domid) != 0) return XenCallError("can't unpause the guest", ids_.domid, errno);
  return absl::OkStatus();
}

absl::Status StandbyDomain::Run(uint64_t store_mfn) {
  const absl::Duration began = MonotonicNow();
  if (absl::Status status = MarkRestored(store_, ids_.domid); !status.ok()) return status;
  const absl::Duration marked = MonotonicNow();
  if (absl::Status status = store_.IntroduceDomain(ids_.domid, store_mfn, ids_.store_port); !status.ok()) return status;
  const absl::Duration introduced = MonotonicNow();
  if (xc_domain_unpause(xc_, ids_.domid) != 0) return XenCallError("can't unpause the guest", ids_.domid, errno);
  LogInfo("domain ", ids_.domid, " runs: marked in ", absl::FormatDuration(marked - began), ", introduced in ",
          absl::FormatDuration(introduced - marked), ", unpaused in ",
          absl::FormatDuration(MonotonicNow() - introduced));
  return absl::OkStatus();
}

void StandbyDomain::Settle(uint64_t store_mfn, uint64_t console_mfn) {
  if (absl::Status s = WriteRunningNodes(store_, ids_, description_, store_mfn, console_mfn); !s.ok()) {
    LogWarning("domain ", ids_.domid, " runs, but `xl` shows it as a standby without a console: ", s.message());
  }
  xc_domain_claim_pages(xc_, ids_.domid, 0);
  // Refused where it is not tracked.
  xc_shadow_control(xc_, ids_.domid, XEN_DOMCTL_SHADOW_OP_OFF, nullptr, 0);
}

absl::Status StandbyDomain::Destroy() { return DestroyDomain(xc_, store_, ids_.domid, uuid_); }

absl::Status DestroyDomain(xc_interface* xc, Xenstore& store, uint32_t domid, const std::string& uuid) {
  absl::Status first;
  // Also gives back what it claimed.
  if (xc_domain_destroy(xc, domid) != 0 && errno != ESRCH)
    first = XenCallError("can't destroy the domain", domid, errno);
  first.Update(RemoveDomainNodes(store, domid, uuid));
  RemoveLibxlUserdata(domid, uuid);
  return first;
}

}  // namespace romulus
