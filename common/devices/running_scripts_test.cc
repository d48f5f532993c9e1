#include "common/devices/running_scripts.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include "absl/strings/str_cat.h"
#include "common/devices/script_runner.h"

namespace romulus {
namespace {

std::string Environment(std::initializer_list<const char*> entries) {
  std::string text;
  for (const char* entry : entries) text += std::string(entry) + '\0';
  return text;
}

TEST(RunningScripts, AreKnownByTheirEnvironment) {
  EXPECT_EQ(DeviceOfEnvironment(Environment({"PATH=/bin", "script=/s", "XENBUS_PATH=backend/vif/7/0"})),
            (DeviceKey{DeviceKind::kVif, 7, 0}));
  EXPECT_FALSE(DeviceOfEnvironment("").has_value());
  EXPECT_FALSE(DeviceOfEnvironment(Environment({"XENBUS_PATH=backend/vif/7/0"})).has_value());
  EXPECT_FALSE(DeviceOfEnvironment(Environment({"script=/s", "XENBUS_PATH=backend/vif/7"})).has_value());
  EXPECT_FALSE(DeviceOfEnvironment(Environment({"script=/s", "XENBUS_PATH=backend/console/7/0"})).has_value());
  EXPECT_FALSE(DeviceOfEnvironment(Environment({"script=/s", "XENBUS_PATH=/local/domain/0/backend/vif/7/0"})));
}

TEST(RunningScripts, AreFoundWithoutWhatTheyCall) {
  // Device ids that no host has.
  const auto script = StartProgram(
      {"/bin/sh", {"-c", "sleep 1000; :"}, {"PATH=/bin", "script=/bin/sh", "XENBUS_PATH=backend/vif/32001/77"}, -1});
  ASSERT_TRUE(script.ok());
  std::map<DeviceKey, RunningScript> found;
  const DeviceKey device{DeviceKind::kVif, 32001, 77};
  // The spawn returns when the new program takes the old one's place; the kernel shows its environment a little later.
  for (int tries = 0; tries < 1000 && found.count(device) == 0; ++tries) found = FindRunningScripts();
  ASSERT_EQ(found.count(device), 1u);
  EXPECT_EQ(found[device].pid, script->pid);
  kill(-script->pid, SIGKILL);
  waitpid(script->pid, nullptr, 0);
  EXPECT_EQ(FindRunningScripts().count(device), 0u);
}

}  // namespace
}  // namespace romulus
