// What ZeroCopyTap is for, on a real kernel. A stand-in for netback: a UDP socket that sends its pages without a copy
// (MSG_ZEROCOPY) on a device whose way out is the vif's way in. The kernel says on the socket's error queue when it has
// let go of the pages, as netback hears it of the guest's. Needs root and the modules; see README.md.
#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "netbuf/netlink_plug_kernel.h"
#include "netbuf/run_shell.h"
#include "netbuf/simulated_ifb_claims.h"
#include "netbuf/tap_device.h"

namespace romulus {
namespace {

class ZeroCopyTest : public ::testing::Test {
 protected:
  ZeroCopyTest() {
    EXPECT_EQ(unshare(CLONE_NEWNET), 0);
    guest_ = std::make_unique<TapDevice>("guest");
    vif_ = std::make_unique<TapDevice>("vif8.0");
    RunShell(
        "set -e; ip link set vif8.0 up; ip link set guest up; ip addr add 10.9.0.2/24 dev guest;"
        "ip neigh add 10.9.0.1 lladdr 02:00:00:00:00:01 dev guest; tc qdisc add dev guest clsact;"
        "tc filter add dev guest egress matchall action mirred ingress redirect dev vif8.0");
    socket_.Reset(socket(AF_INET, SOCK_DGRAM, 0));
    const int on = 1;
    EXPECT_EQ(setsockopt(socket_.get(), SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)), 0);
    sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    inet_pton(AF_INET, "10.9.0.1", &to.sin_addr);
    EXPECT_EQ(connect(socket_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
  }

  void Send() {
    EXPECT_EQ(send(socket_.get(), page_, sizeof(page_), MSG_ZEROCOPY), static_cast<ssize_t>(sizeof(page_)));
  }

  // Whether the sender gets its page back within the time.
  bool PageComesBack(int timeout_ms) {
    pollfd ready{.fd = socket_.get(), .events = 0};
    return poll(&ready, 1, timeout_ms) == 1 && (ready.revents & POLLERR) != 0;
  }

  std::unique_ptr<TapDevice> guest_, vif_;
  char page_[1400] = {};
  UniqueFd socket_;
  SimulatedIfbClaims claims_;
};

TEST_F(ZeroCopyTest, WhatIsHeldIsACopyAndTheGuestHasItsPagesBack) {
  const Vif vif{"vif8.0", 8, 0};
  std::shared_ptr<NetlinkPlugKernel> kernel = *NetlinkPlugKernel::New(&claims_);
  ASSERT_TRUE(kernel->Install(vif, "p", 1 << 20).ok());
  ASSERT_TRUE(kernel->Command({vif}, PlugCommand::kBuffer).ok());
  Send();
  EXPECT_TRUE(PageComesBack(5000));
  EXPECT_EQ(kernel->Read(vif)->held_packets, 1);
  ASSERT_TRUE(kernel->Remove(vif, "p", PlugKernel::Held::kDrop).ok());
}

// The check above means something only as long as a plug alone keeps them.
TEST_F(ZeroCopyTest, WithoutItTheyComeBackWhenThePacketLeaves) {
  RunShell(
      "set -e; ip link add ifb0 type ifb; ip link set ifb0 up; tc qdisc add dev ifb0 root plug limit 1000000;"
      "tc qdisc add dev vif8.0 ingress; tc filter add dev vif8.0 ingress matchall action mirred egress redirect dev "
      "ifb0");
  Send();
  EXPECT_FALSE(PageComesBack(300));
  RunShell("tc qdisc change dev ifb0 root plug release_indefinite");
  EXPECT_TRUE(PageComesBack(5000));
}

}  // namespace
}  // namespace romulus
