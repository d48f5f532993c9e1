#include "netbuf/tap_device.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/base/log.h"

namespace romulus {

TapDevice::TapDevice(const std::string& name, bool offloads) : fd_(open("/dev/net/tun", O_RDWR | O_CLOEXEC)) {
  ROMULUS_CHECK_MESSAGE(fd_.valid(), "/dev/net/tun: modprobe tun");
  ifreq request = {};
  ROMULUS_CHECK(name.size() < sizeof(request.ifr_name));
  memcpy(request.ifr_name, name.data(), name.size());
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  ROMULUS_CHECK_MESSAGE(ioctl(fd_.get(), TUNSETIFF, &request) == 0, strerror(errno));
  ROMULUS_CHECK(ioctl(fd_.get(), TUNSETOFFLOAD, offloads ? TUN_F_CSUM | TUN_F_TSO4 : 0) == 0);
}

void TapDevice::Write(const std::string& frame) { Write(OffloadHeader{}, frame); }

void TapDevice::Write(const OffloadHeader& header, const std::string& frame) {
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
  bytes += frame;
  ROMULUS_CHECK_MESSAGE(write(fd_.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()),
                        strerror(errno));
}

std::optional<std::string> TapDevice::Read(int timeout_ms) {
  pollfd ready{.fd = fd_.get(), .events = POLLIN};
  if (poll(&ready, 1, timeout_ms) <= 0) return std::nullopt;
  std::string bytes(sizeof(OffloadHeader) + (128 << 10), '\0');
  const ssize_t length = read(fd_.get(), bytes.data(), bytes.size());
  ROMULUS_CHECK(length >= static_cast<ssize_t>(sizeof(OffloadHeader)));
  return bytes.substr(sizeof(OffloadHeader), length - sizeof(OffloadHeader));
}

}  // namespace romulus
