#include "common/devices/loop_device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <string.h>
#include <sys/ioctl.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "common/base/unique_fd.h"

namespace romulus {
namespace {

constexpr char kPrefix[] = "/dev/loop";

bool IsLoopDevice(const std::string& node) {
  const size_t digits = sizeof(kPrefix) - 1;
  return node.size() > digits && node.size() < digits + 8 && node.compare(0, digits, kPrefix) == 0 &&
         node.find_first_not_of("0123456789", digits) == std::string::npos;
}

}  // namespace

absl::StatusOr<bool> ReleaseLoopDevice(const LoopUse& use) {
  if (!IsLoopDevice(use.node)) return false;
  std::ifstream about(absl::StrCat("/sys/block/", use.node.substr(sizeof("/dev/") - 1), "/loop/backing_file"));
  std::string backing_file;
  if (!std::getline(about, backing_file)) return false;
  std::error_code error;
  const std::string file = std::filesystem::canonical(use.file, error);
  if (error || backing_file != file) return false;
  const UniqueFd device(open(use.node.c_str(), O_RDONLY | O_CLOEXEC));
  if (!device.valid() || ioctl(device.get(), LOOP_CLR_FD) != 0) {
    return absl::InternalError(absl::StrCat("can't take ", file, " from ", use.node, ": ", strerror(errno)));
  }
  return true;
}

}  // namespace romulus
