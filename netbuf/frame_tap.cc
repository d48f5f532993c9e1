#include "netbuf/frame_tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

constexpr char kTunDevice[] = "/dev/net/tun";
constexpr size_t kFrameBytesMax = (64 << 10) + 64;
constexpr unsigned kOffloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
static_assert(sizeof(OffloadHeader) == 10, "as the kernel's virtio_net_hdr");

absl::Status Failed(const std::string& what) {
  const std::string text = absl::StrCat(what, ": ", strerror(errno), " (errno ", errno, ")");
  switch (errno) {
    case EPERM:
    case EACCES:
      return absl::PermissionDeniedError(absl::StrCat(text, ": run as root or with CAP_NET_ADMIN"));
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return absl::FailedPreconditionError(absl::StrCat(text, ": modprobe tun"));
    case EBUSY:
      return absl::AlreadyExistsError(absl::StrCat(text, ": a device of that name is there"));
    default:
      return absl::InternalError(text);
  }
}

// Before it is up: the kernel would speak IPv6 on it at once.
absl::Status SilenceIpv6(const std::string& device) {
  const std::string path = absl::StrCat("/proc/sys/net/ipv6/conf/", device, "/disable_ipv6");
  UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.valid() && errno == ENOENT) return absl::OkStatus();  // A kernel without IPv6.
  if (!file.valid() || write(file.get(), "1", 1) != 1) return Failed(absl::StrCat("writing ", path));
  return absl::OkStatus();
}

NetlinkMessage SetUpRequest(const NetworkLink& tap, const NetworkLink& vif) {
  NetlinkMessage request(RTM_NEWLINK);
  request
      .Append(ifinfomsg{
          .ifi_index = tap.index, .ifi_flags = IFF_UP | IFF_NOARP, .ifi_change = IFF_UP | IFF_NOARP | IFF_MULTICAST})
      .Put(IFLA_MTU, vif.mtu)
      .Put(IFLA_IFALIAS, FrameTap::Alias(vif.name))
      .Put(IFLA_TXQLEN, FrameTap::kQueueFrames)
      .Put(IFLA_ADDRESS, vif.address.data(), static_cast<int>(vif.address.size()));
  return request;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FrameTap>> FrameTap::New(NetlinkSocket& socket, const std::string& name,
                                                        const NetworkLink& vif) {
  ifreq request = {};
  if (name.size() >= sizeof(request.ifr_name)) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is too long for a device's name"));
  }
  UniqueFd fd(open(kTunDevice, O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return Failed(absl::StrCat("opening ", kTunDevice));
  memcpy(request.ifr_name, name.data(), name.size());
  request.ifr_flags = static_cast<int16_t>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL);
  if (ioctl(fd.get(), TUNSETIFF, &request) != 0) return Failed(absl::StrCat("making the TAP device ", name));
  if (ioctl(fd.get(), TUNSETOFFLOAD, kOffloads) != 0) return Failed(absl::StrCat("setting the offloads of ", name));
  if (absl::Status status = SilenceIpv6(name); !status.ok()) return status;
  std::unique_ptr<FrameTap> tap(new FrameTap(std::move(fd)));
  absl::StatusOr<std::optional<NetworkLink>> link = FindLink(socket, name);
  if (!link.ok()) return link.status();
  if (!link->has_value()) return absl::UnavailableError(absl::StrCat(name, " was made and is gone"));
  tap->link_ = **link;
  NetlinkMessage set_up = SetUpRequest(tap->link_, vif);
  if (const NetlinkResult result = socket.Transact(set_up); !result.ok()) {
    return result.ToStatus(absl::StrCat("setting up ", name));
  }
  return tap;
}

std::string FrameTap::Name(const Vif& vif, char suffix) {
  return absl::StrCat("tap-d", vif.domid, "-", vif.device_id, std::string(1, suffix));
}

std::string FrameTap::Alias(const std::string& vif) { return absl::StrCat("romulus-tap:", vif); }

absl::StatusOr<std::optional<GuestFrame>> FrameTap::Read() {
  GuestFrame frame;
  buffer_.resize(kFrameBytesMax);
  const iovec parts[] = {{.iov_base = &frame.offload, .iov_len = sizeof(frame.offload)},
                         {.iov_base = buffer_.data(), .iov_len = buffer_.size()}};
  ssize_t length;
  do {
    length = readv(fd_.get(), parts, 2);
  } while (length < 0 && errno == EINTR);
  if (length < 0 && errno == EAGAIN) return std::optional<GuestFrame>();
  if (length < 0) return absl::UnavailableError(absl::StrCat("reading from ", link_.name, ": ", strerror(errno)));
  if (length < static_cast<ssize_t>(sizeof(frame.offload))) {
    return absl::InternalError(absl::StrCat(link_.name, " gave a frame of ", length, " bytes"));
  }
  frame.contents.assign(buffer_, 0, length - sizeof(frame.offload));
  return std::optional<GuestFrame>(std::move(frame));
}

absl::Status FrameTap::Write(const GuestFrame& frame) {
  const iovec parts[] = {{.iov_base = const_cast<OffloadHeader*>(&frame.offload), .iov_len = sizeof(frame.offload)},
                         {.iov_base = const_cast<char*>(frame.contents.data()), .iov_len = frame.contents.size()}};
  ssize_t length;
  do {
    length = writev(fd_.get(), parts, 2);
  } while (length < 0 && errno == EINTR);
  if (length >= 0) return absl::OkStatus();
  const std::string text = absl::StrCat("writing a frame of ", frame.contents.size(), " bytes to ", link_.name, ": ",
                                        strerror(errno), " (errno ", errno, ")");
  if (errno == EINVAL) return absl::InvalidArgumentError(text);
  return absl::UnavailableError(text);
}

}  // namespace romulus
