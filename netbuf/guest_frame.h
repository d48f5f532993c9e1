#ifndef ROMULUS_NETBUF_GUEST_FRAME_H_
#define ROMULUS_NETBUF_GUEST_FRAME_H_

#include <cstdint>
#include <optional>
#include <string>

#include "netbuf/offload_header.h"

namespace romulus {

// A frame of a guest's as the kernel hands it over: not cut to the MTU yet, and maybe without its checksum.
struct GuestFrame {
  OffloadHeader offload;
  std::string contents;  // From its Ethernet header on.

  // The checksum field holds the sum over the pseudo header alone; whoever needs the frame on a wire completes it. So
  // who changes the TCP header must leave the field alone: the pseudo header has neither ports nor numbers in it.
  bool checksum_partial() const { return (offload.flags & OffloadHeader::kNeedsChecksum) != 0; }
};

// The frame as contents alone, for another host: the checksum complete. It may still be larger than an MTU (a TCP
// segment of up to 64 KiB). Nothing if the header points outside of the frame: no guest's kernel makes such a one.
std::optional<std::string> ToContents(GuestFrame frame);

// The reverse, for a device of this MTU. What fits goes as it is, and whoever gets it checks its sums. A larger one has
// to be TCP over IPv4 or IPv6, and its checksum is verified here: the kernel cuts it, and makes new ones. Nothing:
// too large and not such a one, or its checksum is wrong.
std::optional<GuestFrame> ToGuestFrame(std::string contents, uint32_t mtu);

}  // namespace romulus

#endif  // ROMULUS_NETBUF_GUEST_FRAME_H_
