#ifndef ROMULUS_PRIMARY_DOMAIN_DEVICE_NODES_H_
#define ROMULUS_PRIMARY_DOMAIN_DEVICE_NODES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/xen/xenstore.h"
#include "proto/replication/v1/domain.pb.h"

namespace romulus {

// Fills what xenstore knows of the domain with domain.domid(): memory, vifs, vbds, console, further entries for the
// guest. `other_devices` gets the kinds of all other devices. NOT_FOUND if the domain's nodes are gone.
absl::Status FillFromXenstore(const Xenstore& store, replication::v1::DomainDescription& domain,
                              std::vector<std::string>& other_devices);

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_DOMAIN_DEVICE_NODES_H_
