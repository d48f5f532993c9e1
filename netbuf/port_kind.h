#ifndef ROMULUS_NETBUF_PORT_KIND_H_
#define ROMULUS_NETBUF_PORT_KIND_H_

#include "absl/status/status.h"
#include "netbuf/network_link.h"

namespace romulus {

// Whether what is put on the vif stays on it. FAILED_PRECONDITION for a port of an Open vSwitch.
absl::Status CheckPortKind(const NetworkLink& vif);

}  // namespace romulus

#endif  // ROMULUS_NETBUF_PORT_KIND_H_
