#include "primary/domain/domain_finder.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

const std::vector<DomainIdentity> kDomains = {{0, "00000000-0000-0000-0000-000000000000", "Domain-0"},
                                              {3, "243470ff-cf59-4d88-acac-928715852862", "web"},
                                              {12, "0a3470ff-cf59-4d88-acac-928715852862", "3"}};

TEST(DomainFinder, FindsByNameUuidAndId) {
  EXPECT_EQ(FindDomain("web", kDomains)->domid, 3);
  EXPECT_EQ(FindDomain("243470FF-CF59-4D88-ACAC-928715852862", kDomains)->domid, 3);
  EXPECT_EQ(FindDomain("12", kDomains)->domid, 12);
}

TEST(DomainFinder, TakesDigitsForAnIdEvenWhereTheyAreAName) { EXPECT_EQ(FindDomain("3", kDomains)->name, "web"); }

TEST(DomainFinder, SaysWhatThereIs) {
  const auto found = FindDomain("wbe", kDomains);
  EXPECT_TRUE(absl::IsNotFound(found.status()));
  EXPECT_NE(found.status().message().find("web (id 3)"), absl::string_view::npos) << found.status();
  EXPECT_EQ(found.status().message().find("Domain-0"), absl::string_view::npos) << found.status();
  EXPECT_TRUE(absl::IsNotFound(FindDomain("4294967296", kDomains).status()));
}

TEST(DomainFinder, NamesOnlySoMany) {
  std::vector<DomainIdentity> domains;
  for (uint32_t i = 1; i <= 100; ++i) domains.push_back({i, "", absl::StrCat("guest", i)});
  const auto found = FindDomain("other", domains);
  EXPECT_NE(found.status().message().find("and 88 more"), absl::string_view::npos) << found.status();
}

TEST(DomainFinder, RefusesTheHostItselfAndNothing) {
  EXPECT_TRUE(absl::IsInvalidArgument(FindDomain("0", kDomains).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(FindDomain("Domain-0", kDomains).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(FindDomain("", kDomains).status()));
}

}  // namespace
}  // namespace romulus
