#ifndef ROMULUS_PRIMARY_DOMAIN_DOMAIN_DESCRIPTION_READER_H_
#define ROMULUS_PRIMARY_DOMAIN_DOMAIN_DESCRIPTION_READER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/xen/handles.h"
#include "common/xen/xenstore.h"
#include "primary/domain/domain_finder.h"
#include "proto/replication/v1/domain.pb.h"

namespace romulus {

// Describes a running domain for its standby, from the hypervisor, xenstore (as libxl 4.17 writes it) and libxl's
// userdata, and says whether it can be protected. A few dozen xenstore requests; loop thread.
class DomainDescriptionReader {
 public:
  // Both outlive it.
  DomainDescriptionReader(xc_interface* xc, Xenstore* store) : xc_(xc), store_(store) {}

  // All domains, domain 0 included.
  absl::StatusOr<std::vector<DomainIdentity>> ListDomains() const;

  // `domain`: name, uuid or id. NOT_FOUND: there is none, or it is shutting down. FAILED_PRECONDITION: it can't be
  // protected, with the reason and the remedy. INVALID_ARGUMENT: domain 0.
  absl::StatusOr<replication::v1::DomainDescription> Read(const std::string& domain) const;

 private:
  xc_interface* const xc_;
  Xenstore* const store_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_DOMAIN_DOMAIN_DESCRIPTION_READER_H_
