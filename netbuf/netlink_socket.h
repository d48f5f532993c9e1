#ifndef ROMULUS_NETBUF_NETLINK_SOCKET_H_
#define ROMULUS_NETBUF_NETLINK_SOCKET_H_

#include <netlink/socket.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "netbuf/netlink_message.h"

namespace romulus {

// What the kernel answered to one request.
struct NetlinkResult {
  int error = 0;       // errno; 0: done.
  std::string reason;  // The kernel's own words (extended ack), if it had some.

  bool ok() const { return error == 0; }
  // `what` says what was tried, on which device. EPERM becomes PERMISSION_DENIED with the capability to give, ENODEV
  // UNAVAILABLE, all others INTERNAL.
  absl::Status ToStatus(const std::string& what) const;
};

// A socket to rtnetlink in the network namespace of the thread that opened it. The kernel works on a request within the
// send, so nothing here waits for longer than it takes. Not thread safe.
class NetlinkSocket {
 public:
  using Reply = std::function<void(nlmsghdr*)>;

  static absl::StatusOr<std::unique_ptr<NetlinkSocket>> Open();

  // Sends all requests in one system call and hears the results in another. The kernel works on all of them, in order,
  // also after one that failed. `on_reply` gets what they return (GET requests).
  std::vector<NetlinkResult> Transact(const std::vector<NetlinkMessage*>& requests, const Reply& on_reply = nullptr);
  NetlinkResult Transact(NetlinkMessage& request, const Reply& on_reply = nullptr);

  // A request with NLM_F_DUMP; `on_reply` gets every object.
  NetlinkResult Dump(NetlinkMessage& request, const Reply& on_reply);

 private:
  struct Free {
    void operator()(nl_sock* socket) const { nl_socket_free(socket); }
  };

  explicit NetlinkSocket(std::unique_ptr<nl_sock, Free> socket);

  NetlinkResult Send(const std::vector<NetlinkMessage*>& requests);
  // The messages of all datagrams that are there (of one at least) to `on_message`.
  NetlinkResult Receive(const std::function<void(nlmsghdr*)>& on_message);

  const std::unique_ptr<nl_sock, Free> socket_;
  uint32_t sequence_ = 0;
  std::vector<char> receive_buffer_;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_NETLINK_SOCKET_H_
