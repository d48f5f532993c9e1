#include "common/xen/host_compatibility.h"

#include <cpuid.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

extern "C" {
#include <xen/sysctl.h>
#include <xen/version.h>
#include <xencall.h>
}

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

constexpr char kAgentVersion[] = "0.1.0";
// In the page that is passed to the hypervisor, behind struct xen_sysctl.
constexpr size_t kFeatureWordsOffset = 1024;
static_assert(sizeof(xen_sysctl) <= kFeatureWordsOffset);

std::string CpuVendor() {
  unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;
  __cpuid(0, eax, ebx, ecx, edx);
  char vendor[12];
  memcpy(vendor, &ebx, 4);
  memcpy(vendor + 4, &edx, 4);
  memcpy(vendor + 8, &ecx, 4);
  return std::string(vendor, sizeof(vendor));
}

struct CallDeleter {
  void operator()(xencall_handle* handle) const { xencall_close(handle); }
};

// What a PVH or HVM guest may be shown at most. libxc has this call in libxenguest, which only the helpers link.
absl::StatusOr<std::vector<uint32_t>> ReadGuestFeatures() {
  const auto error = [] {
    return absl::InternalError(absl::StrCat("can't ask the hypervisor for its CPU features: ", strerror(errno)));
  };
  const std::unique_ptr<xencall_handle, CallDeleter> call(xencall_open(nullptr, 0));
  if (call == nullptr) return error();
  // Memory that the hypervisor may write to without a page fault.
  const auto free_page = [&](void* page) { xencall_free_buffer_pages(call.get(), page, 1); };
  const std::unique_ptr<void, decltype(free_page)> page(xencall_alloc_buffer_pages(call.get(), 1), free_page);
  if (page == nullptr) return error();
  auto* const sysctl = static_cast<xen_sysctl*>(page.get());
  auto* const words = reinterpret_cast<uint32_t*>(static_cast<char*>(page.get()) + kFeatureWordsOffset);
  memset(page.get(), 0, XC_PAGE_SIZE);
  sysctl->cmd = XEN_SYSCTL_get_cpu_featureset;
  sysctl->interface_version = XEN_SYSCTL_INTERFACE_VERSION;
  sysctl->u.cpu_featureset.index = XEN_SYSCTL_cpu_featureset_hvm;
  sysctl->u.cpu_featureset.nr_features = (XC_PAGE_SIZE - kFeatureWordsOffset) / sizeof(uint32_t);
  set_xen_guest_handle_raw(sysctl->u.cpu_featureset.features, words);
  if (xencall1(call.get(), __HYPERVISOR_sysctl, reinterpret_cast<uint64_t>(sysctl)) != 0) return error();
  return std::vector<uint32_t>(words, words + sysctl->u.cpu_featureset.nr_features);
}

}  // namespace

absl::StatusOr<replication::v1::HostCompatibility> ReadHostCompatibility(xc_interface* xc) {
  replication::v1::HostCompatibility host;
  char hostname[256] = {};
  gethostname(hostname, sizeof(hostname) - 1);
  host.set_hostname(hostname);
  host.set_agent_version(kAgentVersion);
  const int version = xc_version(xc, XENVER_version, nullptr);
  if (version < 0) {
    return absl::InternalError(absl::StrCat("can't ask the hypervisor for its version: ", strerror(errno)));
  }
  host.set_xen_major(static_cast<uint32_t>(version) >> 16);
  host.set_xen_minor(static_cast<uint32_t>(version) & 0xffff);
  host.set_cpu_vendor(CpuVendor());

  const absl::StatusOr<std::vector<uint32_t>> words = ReadGuestFeatures();
  if (!words.ok()) return words.status();
  for (const uint32_t word : *words) host.add_cpu_feature_words(word);
  return host;
}

}  // namespace romulus
