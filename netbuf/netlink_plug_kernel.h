#ifndef ROMULUS_NETBUF_NETLINK_PLUG_KERNEL_H_
#define ROMULUS_NETBUF_NETLINK_PLUG_KERNEL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "netbuf/netlink_message.h"
#include "netbuf/netlink_socket.h"
#include "netbuf/network_link.h"
#include "netbuf/plug_kernel.h"

namespace romulus {

// The kernel of this host, over one netlink socket. Belongs to the network namespace of the thread that called New. One
// may serve many egress buffers, all on one thread.
class NetlinkPlugKernel : public PlugKernel {
 public:
  static absl::StatusOr<std::shared_ptr<NetlinkPlugKernel>> New();

  absl::StatusOr<Installed> Install(const Vif& vif, const std::string& protection, uint32_t limit_bytes) override;
  absl::Status Command(const std::vector<Vif>& vifs, PlugCommand command) override;
  absl::Status Discard(const Vif& vif, uint32_t limit_bytes) override;
  absl::Status Remove(const Vif& vif, const std::string& protection, Held held) override;
  absl::StatusOr<Statistics> Read(const Vif& vif) override;
  absl::StatusOr<std::vector<Leftover>> FindLeftovers(const std::set<std::string>& living) override;
  void AwaitTransmission() override;
  std::string DeviceName(const Vif& vif) const override;

 private:
  // What a vif's commands need, built once: an epoch costs one system call to send and one to hear the result.
  struct Installation {
    Installation(NetworkLink vif, NetworkLink ifb);
    NetlinkMessage& Request(PlugCommand command);

    NetworkLink vif;
    NetworkLink ifb;
    NetlinkMessage probe;
    NetlinkMessage buffer;
    NetlinkMessage release_one;
    NetlinkMessage release_indefinite;
  };

  explicit NetlinkPlugKernel(std::unique_ptr<NetlinkSocket> socket) : socket_(std::move(socket)) {}

  // Also one that another object installed.
  absl::StatusOr<Installation*> Find(const Vif& vif);
  absl::Status SetUpPassingIfb(const NetworkLink& vif, const NetworkLink& ifb, uint32_t limit_bytes);
  // Whether `ifb` is a whole buffer for `vif`, so that it can be taken over as it is.
  absl::StatusOr<bool> IsWhole(const NetworkLink& vif, const NetworkLink& ifb);
  absl::Status RemoveRedirect(const Vif& vif, const NetworkLink* ifb);
  absl::Status Drain(const NetworkLink& ifb);

  const std::unique_ptr<NetlinkSocket> socket_;
  std::map<std::string, Installation> installations_;  // By vif.
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_NETLINK_PLUG_KERNEL_H_
