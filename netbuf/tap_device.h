#ifndef ROMULUS_NETBUF_TAP_DEVICE_H_
#define ROMULUS_NETBUF_TAP_DEVICE_H_

#include <optional>
#include <string>

#include "common/base/unique_fd.h"
#include "netbuf/offload_header.h"

namespace romulus {

// A network card of a test: what is written into it the kernel receives on `name`, as netback has it from a guest, and
// what the kernel sends on `name` can be read. Crashes where it can't be made. Goes with the object.
class TapDevice {
 public:
  // Without `offloads` the kernel cuts and sums up what it sends, as for a wire.
  explicit TapDevice(const std::string& name, bool offloads = true);

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
