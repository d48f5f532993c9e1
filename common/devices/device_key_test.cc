#include "common/devices/device_key.h"

#include <gtest/gtest.h>

#include "common/devices/xenbus_state.h"

namespace romulus {
namespace {

TEST(BackendPath, OfADevice) {
  const std::string root = BackendRoot(3);
  const BackendPathParts state = ParseBackendPath(root, "/local/domain/3/backend/vbd/7/51712/state");
  ASSERT_TRUE(state.device.has_value());
  EXPECT_EQ(*state.device, (DeviceKey{DeviceKind::kVbd, 7, 51712}));
  EXPECT_EQ(state.leaf, "state");
  EXPECT_FALSE(state.holds_devices);
  const BackendPathParts itself = ParseBackendPath(root, BackendPath(3, {DeviceKind::kQdisk, 7, 51712}));
  ASSERT_TRUE(itself.device.has_value());
  EXPECT_EQ(itself.leaf, "");
  EXPECT_EQ(ParseBackendPath(root, root + "/vif/7/0/queue-1/ring-ref").leaf, "queue-1/ring-ref");
}

TEST(BackendPath, AboveDevices) {
  for (const char* below : {"", "/vif", "/vif/7"}) {
    const BackendPathParts parts = ParseBackendPath(BackendRoot(0), BackendRoot(0) + below);
    EXPECT_TRUE(parts.holds_devices) << below;
    EXPECT_FALSE(parts.device.has_value()) << below;
  }
}

TEST(BackendPath, Nonsense) {
  for (const std::string path :
       {"", "/", "vif/7/0/state", "/local/domain/0/backen", "/local/domain/0/backendx/vif/7/0/state",
        "/local/domain/0/backend/", "/local/domain/0/backend//7/0", "/local/domain/0/backend/console/7/0/state",
        "/local/domain/0/backend/vif/-7/0/state", "/local/domain/0/backend/vif/07/0/state",
        "/local/domain/0/backend/vif/7 /0/state", "/local/domain/0/backend/vif/0x7/0/state",
        "/local/domain/0/backend/vif/32752/0/state", "/local/domain/0/backend/vif/7/2147483648/state",
        "/local/domain/0/backend/vif/7/99999999999999999999/state", "/local/domain/0/backend/vif/7//state",
        "/local/domain/1/backend/vif/7/0/state"}) {
    EXPECT_FALSE(ParseBackendPath(BackendRoot(0), path).device.has_value()) << path;
    EXPECT_FALSE(ParseBackendPath(BackendRoot(0), path).holds_devices) << path;
  }
}

TEST(BackendPath, FrontendOfAQdiskIsAVbd) {
  EXPECT_EQ(FrontendPath({DeviceKind::kQdisk, 7, 51712}), "/local/domain/7/device/vbd/51712");
  EXPECT_EQ(FrontendPath({DeviceKind::kVif, 7, 1}), "/local/domain/7/device/vif/1");
}

TEST(XenbusStateText, OneDigitAndNothingElse) {
  EXPECT_EQ(ParseXenbusState("4"), XenbusState::kConnected);
  EXPECT_STREQ(XenbusStateName(XenbusState::kInitWait), "InitWait");
  for (const std::string text : {"", "9", "44", " 4", "4 ", "-1", "x", "four"}) {
    EXPECT_FALSE(ParseXenbusState(text).has_value()) << text;
  }
  for (int state = 0; state <= 8; ++state) {
    EXPECT_EQ(ParseXenbusState(FormatXenbusState(static_cast<XenbusState>(state))), static_cast<XenbusState>(state));
  }
}

}  // namespace
}  // namespace romulus
