#include "primary/domain/backend_vifs.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace romulus {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Names(const replication::v1::DomainDescription& domain) {
  std::vector<std::string> names;
  for (const Vif& vif : BackendVifs(domain)) names.push_back(vif.name + (vif.emulated ? " emulated" : ""));
  return names;
}

replication::v1::DomainDescription Guest(replication::v1::DomainType type) {
  replication::v1::DomainDescription domain;
  domain.set_domid(7);
  domain.set_type(type);
  replication::v1::Vif& named = *domain.add_vifs();
  named.set_device_id(0);
  named.set_name("office");
  named.set_type("vif_ioemu");
  domain.add_vifs()->set_device_id(3);
  domain.mutable_vifs(1)->set_type("vif");
  return domain;
}

TEST(BackendVifs, AreCalledAsXenstoreSaysOrAfterDomainAndDevice) {
  EXPECT_THAT(Names(Guest(replication::v1::PVH)), ElementsAre("office", "vif7.3"));
  EXPECT_EQ(BackendVifs(Guest(replication::v1::PV))[1].domid, 7);
  EXPECT_EQ(BackendVifs(Guest(replication::v1::PV))[1].device_id, 3);
}

TEST(BackendVifs, OfAnEmulatedCardAreTwoWithTheSameDevice) {
  EXPECT_THAT(Names(Guest(replication::v1::HVM)), ElementsAre("office", "office-emu emulated", "vif7.3"));
  EXPECT_EQ(BackendVifs(Guest(replication::v1::HVM))[1].device_id, 0);
}

TEST(BackendVifs, OfAnEmulatedCardWithoutANameToo) {
  replication::v1::DomainDescription domain = Guest(replication::v1::HVM);
  domain.mutable_vifs(0)->clear_name();
  EXPECT_THAT(Names(domain), ElementsAre("vif7.0", "vif7.0-emu emulated", "vif7.3"));
}

}  // namespace
}  // namespace romulus
