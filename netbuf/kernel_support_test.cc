#include "netbuf/kernel_support.h"

#include <cstdio>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace romulus {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

// On any machine, with or without the modules, as any user.
std::vector<std::string> NamesOfSound(const std::vector<KernelRequirement>& requirements) {
  std::vector<std::string> names;
  for (const KernelRequirement& requirement : requirements) {
    names.push_back(requirement.name);
    EXPECT_THAT(requirement.finding, Not(IsEmpty()));
    EXPECT_EQ(requirement.remedy.empty(), requirement.holds) << requirement.name;
    printf("%s: %s: %s [%s]\n", requirement.name.c_str(), requirement.holds ? "holds" : "MISSING",
           requirement.finding.c_str(), requirement.remedy.c_str());
  }
  return names;
}

TEST(KernelSupportTest, FindsOneAnswerForEachRequirementAndARemedyForWhatIsMissing) {
  EXPECT_THAT(NamesOfSound(CheckKernelSupport()),
              ElementsAre("network privilege", "ifb", "sch_plug", "sch_ingress", "cls_matchall", "act_mirred"));
}

TEST(KernelSupportTest, TheSameForLockstep) {
  EXPECT_THAT(NamesOfSound(CheckGuestTapSupport()), ElementsAre("network privilege", "tun", "sch_ingress",
                                                                "cls_matchall", "act_mirred", "act_skbedit", "cls_fw"));
}

}  // namespace
}  // namespace romulus
