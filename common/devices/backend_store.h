#ifndef ROMULUS_COMMON_DEVICES_BACKEND_STORE_H_
#define ROMULUS_COMMON_DEVICES_BACKEND_STORE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/devices/device_key.h"
#include "common/devices/device_snapshot.h"
#include "common/devices/hotplug_command.h"
#include "common/devices/loop_device.h"
#include "common/xen/xenstore.h"

namespace romulus {

// Which devices a listener acts on; all others are only listed.
enum class BackendScope {
  kNone,           // It only lists.
  kMarkedDomains,  // dom0: those of domains with a mark (agent_mark.h). libxl looks after its own.
  kAllDomains,     // A driver domain.
};

// The backends of this domain in xenstore. Blocking round trips, a few per call. One thread.
class BackendStore {
 public:
  // FAILED_PRECONDITION: this domain does not know its own id, or is not one that fits the scope.
  static absl::StatusOr<std::unique_ptr<BackendStore>> Open(Xenstore& store, BackendScope scope);

  uint32_t self() const { return self_; }
  const std::string& root() const { return root_; }

  // A device that is not there is one that does not exist; an error is one of xenstored. Of a device that is not ours
  // only what a listing shows is read.
  absl::StatusOr<DeviceSnapshot> Read(const DeviceKey& device);
  // Those below `path`: the root, one of its kinds, or a domain's directory below one. At most `max`.
  absl::StatusOr<std::vector<DeviceKey>> List(const std::string& path, size_t max);

  absl::StatusOr<HotplugNodes> ReadHotplugNodes(const DeviceKey& device);
  // Of a vbd that is a file, once its script has set that up; empty otherwise.
  LoopUse ReadLoopUse(const DeviceKey& vbd);
  // Before the script is called again: what it said the last time is not to be taken for what it says now.
  absl::Status ClearHotplugResult(const DeviceKey& device);
  absl::Status WriteHotplugResult(const DeviceKey& device, const absl::Status& result);

  // The device's directory, unless its `online` is 1; then the directories above it that it leaves empty.
  absl::Status Remove(const DeviceKey& device);

  // Guests that there are records of (below this domain's own libxl/<domid>).
  absl::StatusOr<std::vector<uint32_t>> ListGuestRecords(size_t max);
  absl::Status RemoveGuestRecords(uint32_t domid);

  // Tells udev's rules for hotplug scripts to leave them to this listener. It stays when the listener ends: devices
  // that come then wait for the next one, instead of being connected twice.
  absl::Status DisableUdev();

 private:
  BackendStore(Xenstore& store, BackendScope scope, uint32_t self);
  std::string Node(const DeviceKey& device, const char* name) const;
  absl::StatusOr<DeviceOwner> OwnerOf(uint32_t domid);
  void RemoveIfEmpty(const std::string& path);

  Xenstore& store_;
  const BackendScope scope_;
  const uint32_t self_;
  const std::string root_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_BACKEND_STORE_H_
