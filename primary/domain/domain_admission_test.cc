#include "primary/domain/domain_admission.h"

#include <gtest/gtest.h>

namespace romulus {
namespace {

replication::v1::DomainDescription PvhDomain() {
  replication::v1::DomainDescription domain;
  domain.set_name("web");
  domain.set_domid(7);
  domain.set_type(replication::v1::PVH);
  domain.set_memory_static_max_kib(131072);
  domain.set_memory_target_kib(131072);
  domain.add_vifs()->set_mac("00:16:3e:00:00:01");
  return domain;
}

void ExpectRefused(const replication::v1::DomainDescription& domain, const DomainCircumstances& circumstances,
                   const char* word) {
  const absl::Status status = AdmitForProtection(domain, circumstances);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_NE(status.message().find("'web' (id 7)"), absl::string_view::npos) << status;
  EXPECT_NE(status.message().find(word), absl::string_view::npos) << status;
}

TEST(DomainAdmission, TakesAPvhGuestWithNetworkCards) { EXPECT_TRUE(AdmitForProtection(PvhDomain(), {}).ok()); }

TEST(DomainAdmission, RefusesAPvGuestForWhatTheHypervisorLacks) {
  auto domain = PvhDomain();
  domain.set_type(replication::v1::PV);
  ExpectRefused(domain, {.hypervisor_has_shadow_paging = false}, "without shadow paging");
  ExpectRefused(domain, {.hypervisor_has_shadow_paging = true}, "not supported yet");
}

TEST(DomainAdmission, RefusesAnHvmGuest) {
  auto domain = PvhDomain();
  domain.set_type(replication::v1::HVM);
  ExpectRefused(domain, {}, "device model");
}

TEST(DomainAdmission, RefusesAWritableDiskByName) {
  auto domain = PvhDomain();
  auto* disk = domain.add_vbds();
  disk->set_name("xvda");
  disk->set_params("/dev/vg/web");
  disk->set_read_only(true);
  EXPECT_TRUE(AdmitForProtection(domain, {}).ok());
  disk->set_read_only(false);
  ExpectRefused(domain, {}, "xvda (/dev/vg/web)");
}

TEST(DomainAdmission, RefusesOtherDevices) {
  ExpectRefused(PvhDomain(), {.other_devices = {"vfb", "pci"}}, "xl pci-detach");
  ExpectRefused(PvhDomain(), {.other_devices = {"9pfs", "vfb"}}, "9pfs, vfb");
}

TEST(DomainAdmission, RefusesABalloonedGuestWithTheRemedy) {
  auto domain = PvhDomain();
  domain.set_memory_target_kib(65536);
  ExpectRefused(domain, {}, "xl mem-set 7 128m");
}

}  // namespace
}  // namespace romulus
