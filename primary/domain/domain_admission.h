#ifndef ROMULUS_PRIMARY_DOMAIN_DOMAIN_ADMISSION_H_
#define ROMULUS_PRIMARY_DOMAIN_DOMAIN_ADMISSION_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "proto/replication/v1/domain.pb.h"

namespace romulus {

// What is known of a domain beside its description.
struct DomainCircumstances {
  bool hypervisor_has_shadow_paging = false;
  // Kinds of devices other than vif and vbd that are in xenstore: "pci", "vfb", ...
  std::vector<std::string> other_devices;
};

// Whether this build can protect such a domain. FAILED_PRECONDITION with what stands in the way and what to do.
absl::Status AdmitForProtection(const replication::v1::DomainDescription& domain,
                                const DomainCircumstances& circumstances);

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_DOMAIN_DOMAIN_ADMISSION_H_
