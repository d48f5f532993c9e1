#include <gtest/gtest.h>

#include <functional>

#include "common/xen/host_compatibility.h"

namespace romulus {
namespace {

using replication::v1::HostCompatibility;

HostCompatibility Host() {
  HostCompatibility host;
  host.set_xen_major(4);
  host.set_xen_minor(17);
  host.set_cpu_vendor("AuthenticAMD");
  host.add_cpu_feature_words(0b1011);
  host.add_cpu_feature_words(0b0100);
  return host;
}

absl::StatusCode Check(const std::function<void(HostCompatibility&)>& change_secondary) {
  HostCompatibility secondary = Host();
  change_secondary(secondary);
  return CheckCompatible(Host(), secondary).code();
}

TEST(CheckCompatible, TakesTheSameAndMore) {
  EXPECT_EQ(Check([](HostCompatibility&) {}), absl::StatusCode::kOk);
  EXPECT_EQ(Check([](HostCompatibility& host) { host.set_cpu_feature_words(0, 0b1111); }), absl::StatusCode::kOk);
  EXPECT_EQ(Check([](HostCompatibility& host) { host.set_xen_minor(20); }), absl::StatusCode::kOk);
}

TEST(CheckCompatible, RefusesAnOlderXenAnotherMakerAndMissingFeatures) {
  constexpr auto kRefused = absl::StatusCode::kFailedPrecondition;
  EXPECT_EQ(Check([](HostCompatibility& host) { host.set_xen_minor(16); }), kRefused);
  EXPECT_EQ(Check([](HostCompatibility& host) { host.set_cpu_vendor("GenuineIntel"); }), kRefused);
  EXPECT_EQ(Check([](HostCompatibility& host) { host.set_cpu_feature_words(0, 0b0011); }), kRefused);
  EXPECT_EQ(Check([](HostCompatibility& host) { host.clear_cpu_feature_words(); }), kRefused);
}

TEST(CheckCompatible, NamesTheMissingFeature) {
  HostCompatibility secondary = Host();
  HostCompatibility primary = Host();
  primary.set_cpu_feature_words(1, 1 << 20);
  const absl::Status status = CheckCompatible(primary, secondary);
  EXPECT_NE(status.message().find("(sse4-2)"), std::string::npos) << status;
}

TEST(CheckCompatible, NamesAFeatureThatItDoesNotKnowByItsPlace) {
  HostCompatibility primary = Host();
  while (primary.cpu_feature_words_size() < 100) primary.add_cpu_feature_words(0);
  primary.add_cpu_feature_words(1 << 3);
  const absl::Status status = CheckCompatible(primary, Host());
  EXPECT_NE(status.message().find("100*32+3"), std::string::npos) << status;
}

}  // namespace
}  // namespace romulus
