#include "common/xen/cpu_feature_name.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace romulus {
namespace {

struct Feature {
  const char* name;
  int number;
};

// The header is made for this: each of its lines becomes what the macro says, and it undefines the macro.
#define XEN_CPUFEATURE(name, value) {#name, value},
constexpr Feature kFeatures[] = {
#include <xen/arch-x86/cpufeatureset.h>
};

}  // namespace

std::string CpuFeatureName(int word, int bit) {
  for (const Feature& feature : kFeatures) {
    if (feature.number == word * 32 + bit)
      return absl::StrReplaceAll(absl::AsciiStrToLower(feature.name), {{"_", "-"}});
  }
  return absl::StrCat(word, "*32+", bit);
}

}  // namespace romulus
