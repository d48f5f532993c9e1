#include "netbuf/netlink_socket.h"

#include <errno.h>
#include <linux/netlink.h>
#include <netlink/attr.h>
#include <netlink/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

// The kernel fills at most 32 KiB per datagram of a dump.
constexpr size_t kDatagramBytes = 32 << 10;
constexpr int kDatagramsAtOnce = 8;
// Answers lie in the socket when the send returns; only a broken kernel lets us wait.
constexpr timeval kReceiveTimeout = {.tv_sec = 5, .tv_usec = 0};

NetlinkResult ParseAcknowledgement(nlmsghdr* message) {
  const nlmsgerr* error = static_cast<const nlmsgerr*>(nlmsg_data(message));
  NetlinkResult result{.error = -error->error};
  if ((message->nlmsg_flags & NLM_F_ACK_TLVS) == 0) return result;
  size_t skipped = sizeof(*error);
  if ((message->nlmsg_flags & NLM_F_CAPPED) == 0) skipped += error->msg.nlmsg_len - sizeof(error->msg);
  nlattr* reason = nlmsg_find_attr(message, skipped, NLMSGERR_ATTR_MSG);
  if (reason != nullptr) result.reason = nla_get_string(reason);
  return result;
}

}  // namespace

absl::Status NetlinkResult::ToStatus(const std::string& what) const {
  if (ok()) return absl::OkStatus();
  const std::string text =
      absl::StrCat(what, ": ", reason.empty() ? "" : reason + ": ", strerror(error), " (errno ", error, ")");
  switch (error) {
    case EPERM:
    case EACCES:
      return absl::PermissionDeniedError(absl::StrCat(text, ": run as root or with CAP_NET_ADMIN"));
    case ENODEV:
    case ENXIO:
      return absl::UnavailableError(text);
    default:
      return absl::InternalError(text);
  }
}

absl::StatusOr<std::unique_ptr<NetlinkSocket>> NetlinkSocket::Open() {
  std::unique_ptr<nl_sock, Free> socket(nl_socket_alloc());
  if (socket == nullptr) return absl::ResourceExhaustedError("no memory for a netlink socket");
  if (const int error = nl_connect(socket.get(), NETLINK_ROUTE); error != 0) {
    return absl::InternalError(absl::StrCat("opening a netlink socket: ", nl_geterror(error)));
  }
  const int fd = nl_socket_get_fd(socket.get());
  // Best effort: without it errors come without the kernel's words.
  const int on = 1;
  setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
  setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kReceiveTimeout, sizeof(kReceiveTimeout));
  return std::unique_ptr<NetlinkSocket>(new NetlinkSocket(std::move(socket)));
}

NetlinkSocket::NetlinkSocket(std::unique_ptr<nl_sock, Free> socket)
    : socket_(std::move(socket)), receive_buffer_(kDatagramsAtOnce * kDatagramBytes) {}

NetlinkResult NetlinkSocket::Send(const std::vector<NetlinkMessage*>& requests) {
  std::vector<iovec> parts;
  for (NetlinkMessage* request : requests) {
    nlmsghdr* header = request->header();
    header->nlmsg_seq = ++sequence_;
    parts.push_back({.iov_base = header, .iov_len = NLMSG_ALIGN(header->nlmsg_len)});
  }
  msghdr message{.msg_iov = parts.data(), .msg_iovlen = parts.size()};
  while (sendmsg(nl_socket_get_fd(socket_.get()), &message, 0) < 0) {
    if (errno != EINTR) return {.error = errno, .reason = "sending to netlink"};
  }
  return {};
}

NetlinkResult NetlinkSocket::Receive(const std::function<void(nlmsghdr*)>& on_message) {
  iovec parts[kDatagramsAtOnce];
  mmsghdr datagrams[kDatagramsAtOnce] = {};
  for (int i = 0; i < kDatagramsAtOnce; ++i) {
    parts[i] = {.iov_base = receive_buffer_.data() + i * kDatagramBytes, .iov_len = kDatagramBytes};
    datagrams[i].msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1};
  }
  int received;
  do {
    received = recvmmsg(nl_socket_get_fd(socket_.get()), datagrams, kDatagramsAtOnce, MSG_WAITFORONE, nullptr);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return {.error = errno, .reason = "receiving from netlink"};
  for (int i = 0; i < received; ++i) {
    if (datagrams[i].msg_hdr.msg_flags & MSG_TRUNC) return {.error = EMSGSIZE, .reason = "receiving from netlink"};
    int left = datagrams[i].msg_len;
    for (nlmsghdr* message = static_cast<nlmsghdr*>(parts[i].iov_base); nlmsg_ok(message, left);
         message = nlmsg_next(message, &left)) {
      on_message(message);
    }
  }
  return {};
}

// Only the last request asks to be acknowledged: of the others the kernel tells the errors alone, and tells them
// before.
std::vector<NetlinkResult> NetlinkSocket::Transact(const std::vector<NetlinkMessage*>& requests,
                                                   const Reply& on_reply) {
  for (NetlinkMessage* request : requests) request->header()->nlmsg_flags &= ~NLM_F_ACK;
  requests.back()->header()->nlmsg_flags |= NLM_F_ACK;
  const uint32_t first_sequence = sequence_ + 1;
  if (NetlinkResult sent = Send(requests); !sent.ok()) return std::vector(requests.size(), sent);
  std::vector<NetlinkResult> results(requests.size());
  bool acknowledged = false;
  while (!acknowledged) {
    NetlinkResult received = Receive([&](nlmsghdr* message) {
      const uint32_t index = message->nlmsg_seq - first_sequence;
      if (index >= requests.size()) return;  // Of an earlier request that was given up.
      if (message->nlmsg_type == NLMSG_ERROR) {
        results[index] = ParseAcknowledgement(message);
        acknowledged = index + 1 == requests.size();
      } else if (on_reply) {
        on_reply(message);
      }
    });
    if (!received.ok()) return std::vector(requests.size(), received);
  }
  return results;
}

NetlinkResult NetlinkSocket::Transact(NetlinkMessage& request, const Reply& on_reply) {
  return Transact(std::vector<NetlinkMessage*>{&request}, on_reply).front();
}

NetlinkResult NetlinkSocket::Dump(NetlinkMessage& request, const Reply& on_reply) {
  request.header()->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  if (NetlinkResult sent = Send({&request}); !sent.ok()) return sent;
  NetlinkResult result;
  bool done = false;
  while (!done) {
    NetlinkResult received = Receive([&](nlmsghdr* message) {
      if (message->nlmsg_seq != sequence_) return;
      if (message->nlmsg_type == NLMSG_DONE) {
        done = true;
      } else if (message->nlmsg_type == NLMSG_ERROR) {
        result = ParseAcknowledgement(message);
        done = true;
      } else {
        on_reply(message);
      }
    });
    if (!received.ok()) return received;
  }
  return result;
}

}  // namespace romulus
