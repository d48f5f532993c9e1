#ifndef ROMULUS_NETBUF_OFFLOAD_HEADER_H_
#define ROMULUS_NETBUF_OFFLOAD_HEADER_H_

#include <cstdint>

namespace romulus {

// virtio_net_hdr of linux/virtio_net.h, which is no C++: what a TAP device says of a frame, and is told of one.
// Zeros: the frame is as it is on a wire.
struct OffloadHeader {
  static constexpr uint8_t kNeedsChecksum = 1;
  static constexpr uint8_t kChecksumIsRight = 2;
  static constexpr uint8_t kGsoTcp4 = 1;
  static constexpr uint8_t kGsoTcp6 = 4;

  uint8_t flags = 0;
  uint8_t gso_type = 0;
  uint16_t header_bytes = 0;
  uint16_t gso_bytes = 0;  // Of payload per packet.
  uint16_t checksum_start = 0;
  uint16_t checksum_offset = 0;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_OFFLOAD_HEADER_H_
