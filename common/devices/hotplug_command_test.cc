#include "common/devices/hotplug_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace romulus {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::Not;

constexpr DeviceKey kVif{DeviceKind::kVif, 7, 1};
constexpr DeviceKey kVbd{DeviceKind::kVbd, 7, 51712};

TEST(HotplugCommands, OfAVifAsLibxlMakesThem) {
  const auto commands = HotplugCommands(kVif, {"/etc/xen/scripts/vif-bridge", "vif", "eth7"}, true, true);
  ASSERT_TRUE(commands.ok());
  ASSERT_EQ(commands->size(), 1u);
  EXPECT_EQ((*commands)[0].program, "/etc/xen/scripts/vif-bridge");
  EXPECT_THAT((*commands)[0].arguments, ElementsAre("online", "type_if=vif"));
  for (const char* entry : {"script=/etc/xen/scripts/vif-bridge", "XENBUS_TYPE=vif", "XENBUS_PATH=backend/vif/7/1",
                            "XENBUS_BASE_PATH=backend", "netdev=eth7", "vif=vif7.1"}) {
    EXPECT_THAT((*commands)[0].environment, Contains(entry));
  }
  const auto offline = HotplugCommands(kVif, {"/s", "", ""}, false, false);
  ASSERT_TRUE(offline.ok());
  EXPECT_THAT((*offline)[0].arguments, ElementsAre("offline", "type_if=vif"));
  EXPECT_THAT((*offline)[0].environment, Contains("netdev="));
  EXPECT_THAT((*offline)[0].environment, Not(Contains("INTERFACE=vif7.1-emu")));
}

TEST(HotplugCommands, OfAnEmulatedVifHaveASecondCallForTheTap) {
  const auto commands = HotplugCommands(kVif, {"/s", "vif_ioemu", ""}, true, true);
  ASSERT_TRUE(commands.ok());
  ASSERT_EQ(commands->size(), 2u);
  EXPECT_THAT((*commands)[0].arguments, ElementsAre("online", "type_if=vif"));
  EXPECT_THAT((*commands)[1].arguments, ElementsAre("add", "type_if=tap"));
  for (const HotplugCommand& command : *commands) {
    EXPECT_THAT(command.environment, Contains("INTERFACE=vif7.1-emu"));
    EXPECT_THAT(command.environment, Contains("vif=vif7.1"));
  }
  EXPECT_EQ(HotplugCommands(kVif, {"/s", "vif_ioemu", ""}, true, /*has_tap=*/false)->size(), 1u);
  EXPECT_THAT(HotplugCommands(kVif, {"/s", "vif_ioemu", ""}, false, true)->at(1).arguments,
              ElementsAre("remove", "type_if=tap"));
}

TEST(HotplugCommands, OfAVbd) {
  const auto add = HotplugCommands(kVbd, {"/etc/xen/scripts/block", "phy", ""}, true, false);
  ASSERT_TRUE(add.ok());
  ASSERT_EQ(add->size(), 1u);
  EXPECT_THAT((*add)[0].arguments, ElementsAre("add"));
  EXPECT_THAT((*add)[0].environment, Contains("XENBUS_PATH=backend/vbd/7/51712"));
  EXPECT_THAT((*add)[0].environment, Contains("XENBUS_TYPE=vbd"));
  EXPECT_THAT(HotplugCommands(kVbd, {"/b", "file", ""}, false, false)->at(0).arguments, ElementsAre("remove"));
}

TEST(HotplugCommands, RefuseNonsense) {
  for (const std::string& script :
       {std::string(""), std::string("vif-bridge"), std::string("/"), std::string("/a\0b", 4)}) {
    EXPECT_FALSE(HotplugCommands(kVif, {script, "vif", ""}, true, false).ok());
  }
  EXPECT_FALSE(HotplugCommands(kVif, {"/s", "carrier-pigeon", ""}, true, false).ok());
  EXPECT_FALSE(HotplugCommands({DeviceKind::kQdisk, 7, 0}, {"/s", "", ""}, true, false).ok());
}

}  // namespace
}  // namespace romulus
