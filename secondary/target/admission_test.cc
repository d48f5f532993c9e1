#include "secondary/target/admission.h"

#include <gtest/gtest.h>

#include <functional>

#include "secondary/target/domain_nodes.h"

namespace romulus {
namespace {

using replication::v1::DomainDescription;

DomainDescription SmallGuest() {
  DomainDescription guest;
  guest.set_uuid(std::string("\x24\x34\x70\xff\xcf\x59\x4d\x88\xac\xac\x92\x87\x15\x85\x28\x62", 16));
  guest.set_name("ledger");
  guest.set_type(replication::v1::PVH);
  guest.set_vcpu_count(1);
  guest.set_memory_static_max_kib(131072);
  guest.set_memory_target_kib(131072);
  guest.set_memory_max_kib(132096);
  guest.set_create_flags(XEN_DOMCTL_CDF_hvm | XEN_DOMCTL_CDF_hap);
  guest.set_emulation_flags(1);
  return guest;
}

TEST(Admission, TakesAPvhGuest) { EXPECT_TRUE(ValidateDescription(SmallGuest()).ok()); }

// What a hostile or broken peer may send must not reach the hypervisor or xenstore.
TEST(Admission, RefusesNonsense) {
  const std::vector<std::pair<const char*, std::function<void(DomainDescription&)>>> broken = {
      {"short uuid", [](DomainDescription& d) { d.set_uuid("short"); }},
      {"no name", [](DomainDescription& d) { d.clear_name(); }},
      {"a path for a name", [](DomainDescription& d) { d.set_name("../../vm"); }},
      {"no vCPU", [](DomainDescription& d) { d.set_vcpu_count(0); }},
      {"a million vCPUs", [](DomainDescription& d) { d.set_vcpu_count(1000000); }},
      {"no memory", [](DomainDescription& d) { d.set_memory_target_kib(0); }},
      {"more than its maximum", [](DomainDescription& d) { d.set_memory_target_kib(262144); }},
      {"memory that overflows", [](DomainDescription& d) { d.set_memory_static_max_kib(~uint64_t{0}); }},
      {"max memory that overflows", [](DomainDescription& d) { d.set_memory_max_kib(~uint64_t{0}); }},
  };
  for (const auto& [what, spoil] : broken) {
    DomainDescription guest = SmallGuest();
    spoil(guest);
    EXPECT_TRUE(absl::IsInvalidArgument(ValidateDescription(guest))) << what;
  }
}

TEST(Admission, SaysWhichGuestsItCannotTakeYet) {
  DomainDescription pv = SmallGuest();
  pv.set_type(replication::v1::PV);
  EXPECT_TRUE(absl::IsFailedPrecondition(ValidateDescription(pv)));
  DomainDescription shadow = SmallGuest();
  shadow.set_create_flags(XEN_DOMCTL_CDF_hvm);
  EXPECT_TRUE(absl::IsFailedPrecondition(ValidateDescription(shadow)));
  DomainDescription disk = SmallGuest();
  disk.add_vbds();
  EXPECT_TRUE(absl::IsFailedPrecondition(ValidateDescription(disk)));
}

// libxl__get_required_paging_memory: 256 pages a vCPU and one a MiB; here rounded up to a MiB.
TEST(Admission, ReservesForPageTablesWhatLibxlDoes) {
  EXPECT_EQ(PagingPoolKib(SmallGuest()), 2048);
  DomainDescription big = SmallGuest();
  big.set_vcpu_count(8);
  big.set_memory_static_max_kib(16 << 20);
  EXPECT_EQ(PagingPoolKib(big), 4 * (256 * 8 + 16384));
}

TEST(DomainNodes, WritesUuidsAsXenstoreHasThem) {
  EXPECT_EQ(FormatUuid(SmallGuest().uuid()), "243470ff-cf59-4d88-acac-928715852862");
}

}  // namespace
}  // namespace romulus
