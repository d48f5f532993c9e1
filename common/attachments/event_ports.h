#ifndef ROMULUS_COMMON_ATTACHMENTS_EVENT_PORTS_H_
#define ROMULUS_COMMON_ATTACHMENTS_EVENT_PORTS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "common/xen/handles.h"
#include "proto/replication/v1/attachments.pb.h"

namespace romulus {

// Sets `ports` to the event channels that the domain has, by its own port numbers. Ports are given out from the lowest
// free one, so it stops looking after a gap of kPortGap. `unknown`: left out, one that the guest does not know of
// (suspend_port.h).
absl::Status ReadEventPorts(xc_interface* xc, uint32_t domid, replication::v1::GuestAttachments& attachments,
                            std::optional<uint32_t> unknown = std::nullopt);
inline constexpr uint32_t kPortGap = 32;

// In words, how the ports of `here` differ from those of `primary`, for an operator; empty: they don't. Nobody can give
// a guest's channel another port, so a standby whose ports differ can't go on with the primary's memory.
std::string PortDifference(const replication::v1::GuestAttachments& primary,
                           const replication::v1::GuestAttachments& here);

}  // namespace romulus

#endif  // ROMULUS_COMMON_ATTACHMENTS_EVENT_PORTS_H_
