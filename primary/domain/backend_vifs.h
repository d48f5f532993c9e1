#ifndef ROMULUS_PRIMARY_DOMAIN_BACKEND_VIFS_H_
#define ROMULUS_PRIMARY_DOMAIN_BACKEND_VIFS_H_

#include <vector>

#include "netbuf/vif.h"
#include "proto/replication/v1/domain.pb.h"

namespace romulus {

// The network devices of this host by which the domain's output comes: of each card the vif, called by xenstore's
// `vifname`, else vif<domid>.<devid>; of an HVM guest's card of type vif_ioemu also the device model's tap, which
// libxl's scripts call the same with "-emu" behind it. All of them are to be buffered as one.
std::vector<Vif> BackendVifs(const replication::v1::DomainDescription& domain);

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_DOMAIN_BACKEND_VIFS_H_
