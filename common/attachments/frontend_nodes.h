#ifndef ROMULUS_COMMON_ATTACHMENTS_FRONTEND_NODES_H_
#define ROMULUS_COMMON_ATTACHMENTS_FRONTEND_NODES_H_

#include <cstdint>

#include "absl/status/status.h"
#include "common/xen/xenstore.h"
#include "proto/replication/v1/attachments.pb.h"

namespace romulus {

// Sets `vifs` to what the guest's network frontends have written for their backends: a round trip to xenstored each.
absl::Status ReadFrontends(Xenstore& store, uint32_t domid, replication::v1::GuestAttachments& attachments);

// Only entries that a frontend writes, of a plausible size: what comes from another host must not reach what the
// toolstack or a backend wrote.
absl::Status ValidateFrontend(const replication::v1::GuestAttachments::Frontend& frontend);

// Makes the nodes of the domain's frontend those of `frontend`, as its owner. In a transaction. INVALID_ARGUMENT: as
// ValidateFrontend.
absl::Status WriteFrontend(XenstoreAccess& transaction, uint32_t domid,
                           const replication::v1::GuestAttachments::Frontend& frontend);

}  // namespace romulus

#endif  // ROMULUS_COMMON_ATTACHMENTS_FRONTEND_NODES_H_
