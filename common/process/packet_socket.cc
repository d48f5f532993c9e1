#include "common/process/packet_socket.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/monotonic_time.h"

namespace romulus {
namespace {

absl::Status Late() { return absl::DeadlineExceededError("the other end of the helper's socket is late"); }

// Waits until `socket` is ready for `events`, hung up, or `deadline` has passed.
absl::Status WaitFor(int socket, short events, absl::Duration deadline) {
  while (true) {
    const absl::Duration left = deadline - MonotonicNow();
    int timeout_ms = -1;
    if (deadline != absl::InfiniteDuration()) {
      timeout_ms = static_cast<int>(
          std::clamp<int64_t>(absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1))), 0, 3'600'000));
    }
    pollfd poll_fd{socket, events, 0};
    const int ready = poll(&poll_fd, 1, timeout_ms);
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) {
      return absl::InternalError(absl::StrCat("can't wait for a helper's socket: ", strerror(errno)));
    }
    if (left <= absl::ZeroDuration()) return Late();
  }
}

absl::Status Closed() { return absl::UnavailableError("the other end of the helper's socket is closed"); }

}  // namespace

absl::StatusOr<std::pair<UniqueFd, UniqueFd>> NewPacketSocketPair() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return absl::ResourceExhaustedError(absl::StrCat("can't make a socketpair for a helper: ", strerror(errno)));
  }
  return std::make_pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

absl::Status SendPacket(int socket, absl::string_view bytes, absl::Span<const int> descriptors,
                        absl::Duration timeout) {
  if (bytes.empty() || bytes.size() > kMaxPacketBytes || descriptors.size() > kMaxPacketDescriptors) {
    return absl::InvalidArgumentError(absl::StrCat("a helper's message of ", bytes.size(), " bytes and ",
                                                   descriptors.size(), " descriptors is not within the limits"));
  }
  iovec data{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxPacketDescriptors)] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    const size_t descriptor_bytes = sizeof(int) * descriptors.size();
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(descriptor_bytes);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptor_bytes);
    memcpy(CMSG_DATA(header), descriptors.data(), descriptor_bytes);
  }
  const absl::Duration deadline = MonotonicNow() + timeout;
  while (true) {
    if (sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return absl::OkStatus();
    if (errno == EINTR) continue;
    if (errno == EPIPE || errno == ECONNRESET) return Closed();
    if (errno != EAGAIN) {
      return absl::InternalError(absl::StrCat("can't send to the other end of a helper's socket: ", strerror(errno)));
    }
    if (timeout <= absl::ZeroDuration()) return Late();
    if (absl::Status ready = WaitFor(socket, POLLOUT, deadline); !ready.ok()) return ready;
  }
}

absl::StatusOr<Packet> ReceivePacket(int socket, absl::Duration timeout) {
  Packet packet;
  char bytes[kMaxPacketBytes];  // Left as it is: to clear it would take longer than all the rest.
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxPacketDescriptors)];
  const absl::Duration deadline = MonotonicNow() + timeout;
  while (true) {
    iovec data{bytes, sizeof(bytes)};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    const ssize_t received = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (received < 0) {
      // ECONNRESET, once: the other end was closed with packets of ours unread. What it sent before is still here.
      if (errno == EINTR || errno == ECONNRESET) continue;
      if (errno != EAGAIN) {
        return absl::InternalError(absl::StrCat("can't receive from a helper's socket: ", strerror(errno)));
      }
      if (timeout <= absl::ZeroDuration()) return Late();
      if (absl::Status ready = WaitFor(socket, POLLIN, deadline); !ready.ok()) return ready;
      continue;
    }
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
      const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count; ++i) {
        int descriptor = -1;
        memcpy(&descriptor, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
        packet.descriptors.emplace_back(descriptor);
      }
    }
    // An empty packet can't be told from the end of file; nobody here sends one.
    if (received == 0) return Closed();
    if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
      return absl::InvalidArgumentError("a message on a helper's socket is over the limits");
    }
    packet.bytes.assign(bytes, received);
    return packet;
  }
}

}  // namespace romulus
