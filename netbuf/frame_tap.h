#ifndef ROMULUS_NETBUF_FRAME_TAP_H_
#define ROMULUS_NETBUF_FRAME_TAP_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "netbuf/guest_frame.h"
#include "netbuf/netlink_socket.h"
#include "netbuf/network_link.h"
#include "netbuf/vif.h"

namespace romulus {

// A TAP device of this process, mute but for what is redirected to it: no address, no ARP, no IPv6, in no bridge. It
// takes a guest's frames as they are, with TCP segmentation and checksums undone; so a segment of 64 KiB is one read
// and one write. The device goes with the object, and with the process.
//
// Not thread safe.
class FrameTap {
 public:
  // Frames that the kernel keeps for us; what comes past them is dropped. Of full TCP segments that is 64 MiB, of
  // packets of 1500 bytes 12 ms of a Gbit/s.
  static constexpr uint32_t kQueueFrames = 1024;

  // Up, with the MTU and the address of the vif: what is written to it is for the host what is written to the vif's.
  // ALREADY_EXISTS: a device of that name is there. FAILED_PRECONDITION: the kernel has no TAP devices.
  static absl::StatusOr<std::unique_ptr<FrameTap>> New(NetlinkSocket& socket, const std::string& name,
                                                       const NetworkLink& vif);

  // "tap-d<domid>-<devid>" and `suffix`.
  static std::string Name(const Vif& vif, char suffix);
  // Of the TAPs for the vif of this name.
  static std::string Alias(const std::string& vif);

  const NetworkLink& link() const { return link_; }
  int descriptor() const { return fd_.get(); }

  // Does not block; nothing if there is no frame. UNAVAILABLE: somebody removed the device.
  absl::StatusOr<std::optional<GuestFrame>> Read();
  // The kernel takes it as received by the device, within the call. INVALID_ARGUMENT: not a frame.
  absl::Status Write(const GuestFrame& frame);

 private:
  explicit FrameTap(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
  NetworkLink link_;
  std::string buffer_;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_FRAME_TAP_H_
