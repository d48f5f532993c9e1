#ifndef ROMULUS_NETBUF_TAP_DEVICE_H_
#define ROMULUS_NETBUF_TAP_DEVICE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "common/base/unique_fd.h"

namespace romulus {

// virtio_net_hdr of linux/virtio_net.h, which is no C++.
struct OffloadHeader {
  static constexpr uint8_t kNeedsChecksum = 1;
  static constexpr uint8_t kGsoTcp4 = 1;

  uint8_t flags = 0;
  uint8_t gso_type = 0;
  uint16_t header_bytes = 0;
  uint16_t gso_bytes = 0;  // Of payload per packet.
  uint16_t checksum_start = 0;
  uint16_t checksum_offset = 0;
};

// A network card of a test: what is written into it the kernel receives on `name`, as netback has it from a guest, and
// what the kernel sends on `name` can be read. Crashes where it can't be made. Goes with the object.
class TapDevice {
 public:
  explicit TapDevice(const std::string& name);

  void Write(const std::string& frame);
  // A frame larger than the MTU, to be cut by whoever needs it (GSO).
  void Write(const OffloadHeader& header, const std::string& frame);
  // The next frame; nothing if none comes within the time.
  std::optional<std::string> Read(int timeout_ms);

 private:
  UniqueFd fd_;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_TAP_DEVICE_H_
