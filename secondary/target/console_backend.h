#ifndef ROMULUS_SECONDARY_TARGET_CONSOLE_BACKEND_H_
#define ROMULUS_SECONDARY_TARGET_CONSOLE_BACKEND_H_

#include "absl/status/status.h"
#include "common/xen/xenstore.h"
#include "proto/replication/v1/domain.pb.h"
#include "secondary/target/domain_nodes.h"

namespace romulus {

// Describes the guest's first console for xenconsoled, all but `ring-ref`, which the restore tells
// (WriteRunningNodes). xenconsoled connects when the domain is introduced to xenstore.
absl::Status WriteConsole(Xenstore& store, const StandbyDomainIds& ids, const replication::v1::Console& console);

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_CONSOLE_BACKEND_H_
