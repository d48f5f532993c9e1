#include "common/devices/netlink_vif_connector.h"

#include <gtest/gtest.h>

namespace romulus {
namespace {

TEST(ReasonForVifScript, OnlyAPlainBridgedVifNeedsNone) {
  const auto reason = [](const std::string& script, const std::string& type, const std::string& addresses) {
    return NetlinkVifConnector::ReasonForScript({script, type, ""}, addresses);
  };
  EXPECT_EQ(reason("/etc/xen/scripts/vif-openvswitch", "vif", ""), "it is not vif-bridge");
  EXPECT_EQ(reason("", "vif", ""), "it is not vif-bridge");
  EXPECT_EQ(reason("/etc/xen/scripts/vif-bridge", "vif_ioemu", ""), "the interface is also an emulated card's");
  EXPECT_EQ(reason("/etc/xen/scripts/vif-bridge", "vif", "10.0.0.1"), "the vif is restricted to IP addresses");
  // What is left depends on this host: iptables on bridges, hooks.
  for (const char* type : {"", "vif"}) {
    const std::string rest = reason("/usr/local/etc/xen/scripts/vif-bridge", type, "");
    EXPECT_TRUE(rest.empty() || rest.find("iptables") != rest.npos || rest.find("hooks") != rest.npos) << rest;
  }
}

}  // namespace
}  // namespace romulus
