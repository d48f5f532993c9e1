#ifndef ROMULUS_SECONDARY_TARGET_ANNOUNCER_H_
#define ROMULUS_SECONDARY_TARGET_ANNOUNCER_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace romulus {

// Tells the network behind a bridge that a guest's MAC address is now reached through this host.
//
// dom0 need not know the guest's addresses, so the frame that always goes out is a RARP request with the guest's MAC as
// its sender, as QEMU sends after a migration (RFC 903): switches learn the port from it, and nobody answers it. For
// each known IPv4 address a gratuitous ARP goes out, too (RFC 5227 section 3). The guest's own kernel announces its
// addresses besides, IPv6 ones included, when its frontend has connected (netdev_notify_peers).
using MacAddress = std::array<uint8_t, 6>;

// INVALID_ARGUMENT: not "00:16:3e:01:02:03".
absl::StatusOr<MacAddress> ParseMacAddress(const std::string& text);

// The frames for one guest interface; `addresses`: dotted IPv4, others are left out.
std::vector<std::string> AnnouncementFrames(const MacAddress& mac, const std::vector<std::string>& addresses);

// Sends `frames` out of `interface` (the bridge: what dom0 sends there leaves through all its other ports).
absl::Status SendFrames(int interface_index, const std::vector<std::string>& frames);

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_ANNOUNCER_H_
