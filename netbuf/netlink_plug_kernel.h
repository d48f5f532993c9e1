#ifndef ROMULUS_NETBUF_NETLINK_PLUG_KERNEL_H_
#define ROMULUS_NETBUF_NETLINK_PLUG_KERNEL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "netbuf/ifb_claims.h"
#include "netbuf/netlink_message.h"
#include "netbuf/netlink_socket.h"
#include "netbuf/network_link.h"
#include "netbuf/plug_kernel.h"
#include "netbuf/zero_copy_tap.h"

namespace romulus {

// The kernel of this host, over one netlink socket. Belongs to the network namespace of the thread that called New. One
// may serve many egress buffers, all on one thread.
class NetlinkPlugKernel : public PlugKernel {
 public:
  struct Options {
    // Whether to ask the kernel for an ifb before a free one of the host's is adopted. For hosts whose administrator
    // keeps a pool ('modprobe ifb numifbs=8'), and for tests of what happens where the kernel refuses.
    bool create_ifbs = true;
  };

  // `claims`: this host's; outlives it.
  static absl::StatusOr<std::shared_ptr<NetlinkPlugKernel>> New(IfbClaims* claims, Options options);
  static absl::StatusOr<std::shared_ptr<NetlinkPlugKernel>> New(IfbClaims* claims) { return New(claims, Options()); }

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
    std::optional<ZeroCopyTap> tap;
  };

  NetlinkPlugKernel(std::unique_ptr<NetlinkSocket> socket, IfbClaims* claims, Options options)
      : socket_(std::move(socket)), claims_(claims), options_(options) {}

  // Also one that another object installed.
  absl::StatusOr<Installation*> Find(const Vif& vif);
  // The device that buffers `vif` for `protection`, or was about to when its owner died; nothing if there is none, or
  // another's.
  absl::StatusOr<std::optional<NetworkLink>> FindIfb(const Vif& vif, const std::string& protection);
  // Whether somebody else buffers it, in whichever way.
  absl::Status CheckUnclaimed(const Vif& vif, const std::string& protection, const std::vector<IfbClaim>& claims);
  absl::StatusOr<NetworkLink> ObtainIfb(const NetworkLink& vif_link, const Vif& vif, const std::string& protection,
                                        const std::vector<IfbClaim>& claims);
  // Deletes it, or gives it back.
  absl::Status Release(const NetworkLink& ifb);
  // Of an emulated card: that it is not there.
  absl::Status CheckAbsent(const Vif& vif);
  absl::Status SetUpPassingIfb(const NetworkLink& vif, const NetworkLink& ifb, uint32_t limit_bytes);
  // Whether `ifb` is a whole buffer for `vif`, so that it can be taken over as it is.
  absl::StatusOr<bool> IsWhole(const NetworkLink& vif, const NetworkLink& ifb);
  Installed Keep(const NetworkLink& vif, const NetworkLink& ifb, Installed installed);
  // Without the claim.
  absl::Status RemoveDevices(const Vif& vif, const std::string& protection, Held held);
  absl::Status RemoveRedirect(const Vif& vif, const NetworkLink* ifb);
  absl::Status Drain(const NetworkLink& ifb);

  const std::unique_ptr<NetlinkSocket> socket_;
  IfbClaims* const claims_;
  const Options options_;
  std::map<std::string, Installation> installations_;  // By vif.
  std::set<std::string> absent_;                       // Emulated cards that were not there to be buffered.
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_NETLINK_PLUG_KERNEL_H_
