#ifndef ROMULUS_NETBUF_LINK_RATE_H_
#define ROMULUS_NETBUF_LINK_RATE_H_

#include <cstdint>
#include <optional>
#include <string>

namespace romulus {

// How fast a guest's output can leave its host.

// Of a vif's `rate` node, "<bytes>,<microseconds>": as many bytes in as long a time (docs/man/xl-network-configuration,
// xen_vif_rate of the kernel's xenbus.c). Bytes per second; nothing if that is no rate.
std::optional<uint64_t> ParseVifRate(const std::string& rate);

// Of the bridge that `device` is a port of: the speed of its fastest other port that knows its own,
// as the kernel's sysfs has it at `sysfs_net` (/sys/class/net). Bytes per second; nothing if nobody knows: no bridge,
// Open vSwitch, or none but virtual ports.
std::optional<uint64_t> ReadUplinkRate(const std::string& device, const std::string& sysfs_net = "/sys/class/net");

// Where neither is known.
inline constexpr uint64_t kAssumedBytesPerSecond = 125'000'000;  // 1 Gb/s.

}  // namespace romulus

#endif  // ROMULUS_NETBUF_LINK_RATE_H_
