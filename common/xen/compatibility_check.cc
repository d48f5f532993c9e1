#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/xen/cpu_feature_name.h"
#include "common/xen/host_compatibility.h"

namespace romulus {
namespace {

using replication::v1::HostCompatibility;

// Enough to see what kind of feature is missing.
constexpr size_t kFeaturesNamedMax = 8;

std::string VersionOf(const HostCompatibility& host) { return absl::StrCat(host.xen_major(), ".", host.xen_minor()); }

}  // namespace

absl::Status CheckCompatible(const HostCompatibility& primary, const HostCompatibility& secondary) {
  if (std::make_tuple(secondary.xen_major(), secondary.xen_minor()) <
      std::make_tuple(primary.xen_major(), primary.xen_minor())) {
    return absl::FailedPreconditionError(absl::StrCat(
        "host ", secondary.hostname(), " runs Xen ", VersionOf(secondary), ", older than ", VersionOf(primary), " on ",
        primary.hostname(), ": Xen restores a guest only on the same or a newer version; upgrade ",
        secondary.hostname(), " first"));
  }
  if (primary.cpu_vendor() != secondary.cpu_vendor()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the hosts' processors are of different makers, ", primary.cpu_vendor(), " on ", primary.hostname(), " and ",
        secondary.cpu_vendor(), " on ", secondary.hostname(), ": choose a secondary of the same kind"));
  }
  std::vector<std::string> missing;
  for (int word = 0; word < primary.cpu_feature_words_size(); ++word) {
    const uint32_t there = word < secondary.cpu_feature_words_size() ? secondary.cpu_feature_words(word) : 0;
    const uint32_t lacking = primary.cpu_feature_words(word) & ~there;
    for (int bit = 0; bit < 32; ++bit) {
      if ((lacking >> bit & 1) != 0) missing.push_back(CpuFeatureName(word, bit));
    }
  }
  if (missing.empty()) return absl::OkStatus();
  const size_t count = missing.size();
  if (count > kFeaturesNamedMax) missing.resize(kFeaturesNamedMax);
  return absl::FailedPreconditionError(
      absl::StrCat("the processor of host ", secondary.hostname(), " lacks ", count, " features that a guest of ",
                   primary.hostname(), " may use (", absl::StrJoin(missing, ", "),
                   count > missing.size() ? ", ..." : "", "): mask them on ", primary.hostname(),
                   " with Xen's cpuid= option (\"cpuid=no-", missing[0], "\"), or choose another secondary"));
}

}  // namespace romulus
