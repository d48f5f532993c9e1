#ifndef ROMULUS_COMMON_XEN_CPU_FEATURE_NAME_H_
#define ROMULUS_COMMON_XEN_CPU_FEATURE_NAME_H_

#include <string>

namespace romulus {

// The name by which Xen's cpuid= option knows bit `bit` of featureset word `word` (xen/arch-x86/cpufeatureset.h, as of
// this build); of one that it does not know, its place: "1*32+2".
std::string CpuFeatureName(int word, int bit);

}  // namespace romulus

#endif  // ROMULUS_COMMON_XEN_CPU_FEATURE_NAME_H_
