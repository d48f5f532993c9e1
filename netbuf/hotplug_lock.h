#ifndef ROMULUS_NETBUF_HOTPLUG_LOCK_H_
#define ROMULUS_NETBUF_HOTPLUG_LOCK_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/unique_fd.h"

namespace romulus {

// A lock that Xen's hotplug scripts take too: the protocol of tools/hotplug/Linux/locking.sh (claim_lock,
// release_lock), which says why it is right. A file is opened (created if need be) and locked with flock; the lock is
// held if the path still leads to the locked file; the holder removes the file when it is done. A holder that dies
// leaves an unlocked file behind, which is no obstacle.
//
// Held for as long as the object lives. The lock is the open file's: it excludes other objects of this process too, and
// a child that is forked meanwhile shares it.
class HotplugLock {
 public:
  static constexpr char kDirectory[] = "/var/run/xen-hotplug";

  // Waits for `timeout` at most, then UNAVAILABLE, and says what to do. Makes the directory if it is not there.
  static absl::StatusOr<std::unique_ptr<HotplugLock>> Acquire(const std::string& directory, const std::string& name,
                                                              absl::Duration timeout);
  ~HotplugLock();

 private:
  HotplugLock(std::string path, UniqueFd file) : path_(std::move(path)), file_(std::move(file)) {}

  const std::string path_;
  const UniqueFd file_;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_HOTPLUG_LOCK_H_
