#include "common/xen/host_report.h"

#include <errno.h>
#include <string.h>
#include <sys/utsname.h>

extern "C" {
#include <xen/version.h>
}

#include "absl/strings/str_cat.h"
#include "common/xen/control.h"
#include "common/xen/host_compatibility.h"

namespace romulus {

absl::StatusOr<control::v1::Host> ReportHost(control::v1::Host::Role role) {
  constexpr uint64_t kKibPerPage = 4;
  const absl::StatusOr<XcInterface> xc = OpenXenControl(nullptr);
  if (!xc.ok()) return xc.status();
  absl::StatusOr<replication::v1::HostCompatibility> compatibility = ReadHostCompatibility(xc->get());
  if (!compatibility.ok()) return compatibility.status();
  xc_physinfo_t info{};
  xen_extraversion_t extra = {};
  utsname kernel{};
  if (xc_physinfo(xc->get(), &info) != 0 || xc_version(xc->get(), XENVER_extraversion, extra) < 0 ||
      uname(&kernel) != 0) {
    return absl::InternalError(absl::StrCat("can't ask the hypervisor about the host: ", strerror(errno)));
  }
  control::v1::Host host;
  host.set_role(role);
  host.set_xen_version(absl::StrCat(compatibility->xen_major(), ".", compatibility->xen_minor(), extra));
  *host.mutable_compatibility() = *std::move(compatibility);
  host.set_kernel_release(kernel.release);
  host.set_memory_total_kib(info.total_pages * kKibPerPage);
  host.set_memory_free_kib((info.free_pages + info.scrub_pages) * kKibPerPage);
  host.set_shadow_paging((info.capabilities & XEN_SYSCTL_PHYSCAP_shadow) != 0);
  host.set_hardware_assisted_paging((info.capabilities & XEN_SYSCTL_PHYSCAP_hap) != 0);
  return host;
}

}  // namespace romulus
