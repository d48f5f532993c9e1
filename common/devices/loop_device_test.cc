#include "common/devices/loop_device.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "common/base/unique_fd.h"

namespace romulus {
namespace {

TEST(LoopDevice, NonsenseIsNone) {
  for (const char* node : {"", "/dev/loop", "/dev/sda", "/dev/loop1x", "/dev/loop/../sda", "loop1"}) {
    const auto released = ReleaseLoopDevice({node, "/etc/passwd"});
    ASSERT_TRUE(released.ok()) << node;
    EXPECT_FALSE(*released) << node;
  }
}

// Needs root and the loop driver; in a lab host, or where the machine has them.
TEST(LoopDevice, IsReleasedIfItIsThatFiles) {
  const UniqueFd control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  const int number = control.valid() ? ioctl(control.get(), LOOP_CTL_GET_FREE) : -1;
  if (number < 0) GTEST_SKIP() << "no loop devices here";
  const std::string node = absl::StrCat("/dev/loop", number);
  const std::string file = absl::StrCat(testing::TempDir(), "/", getpid(), "-image");
  std::ofstream(file) << std::string(1 << 20, 'x');
  {
    const UniqueFd image(open(file.c_str(), O_RDWR | O_CLOEXEC));
    const UniqueFd device(open(node.c_str(), O_RDWR | O_CLOEXEC));
    if (!device.valid() || ioctl(device.get(), LOOP_SET_FD, image.get()) != 0) GTEST_SKIP() << "no rights to " << node;
  }
  const std::string other = file + "-other";
  std::ofstream(other) << "y";
  EXPECT_FALSE(*ReleaseLoopDevice({node, other}));
  EXPECT_FALSE(*ReleaseLoopDevice({node, "/nowhere/image"}));
  const auto released = ReleaseLoopDevice({node, file});
  ASSERT_TRUE(released.ok()) << released.status();
  EXPECT_TRUE(*released);
  EXPECT_FALSE(*ReleaseLoopDevice({node, file}));
}

}  // namespace
}  // namespace romulus
