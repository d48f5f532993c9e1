#ifndef ROMULUS_COMMON_DEVICES_LOOP_DEVICE_H_
#define ROMULUS_COMMON_DEVICES_LOOP_DEVICE_H_

#include <string>

#include "absl/status/statusor.h"

namespace romulus {

// What Xen's block script has set up for a disk that is a file.
struct LoopUse {
  std::string node;  // "/dev/loop3"
  std::string file;
};

// Takes the file from its loop device, as the script does when it is called to remove the disk: for where it could not
// do so any more. False: the device is not there, or is not that file's (any more). While somebody has it open the
// kernel puts the end off until it is closed.
absl::StatusOr<bool> ReleaseLoopDevice(const LoopUse& use);

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_LOOP_DEVICE_H_
