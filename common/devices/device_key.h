#ifndef ROMULUS_COMMON_DEVICES_DEVICE_KEY_H_
#define ROMULUS_COMMON_DEVICES_DEVICE_KEY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>

namespace romulus {

// The kinds of backends that need somebody in user space: vif and vbd a hotplug script, qdisk a QEMU. All others
// (console, vkbd, ...) are somebody else's.
enum class DeviceKind { kVif, kVbd, kQdisk };
inline constexpr DeviceKind kDeviceKinds[] = {DeviceKind::kVif, DeviceKind::kVbd, DeviceKind::kQdisk};

// As in the backend's path: "vif", "vbd", "qdisk".
const char* BackendKindName(DeviceKind kind);
// As in the frontend's path: a qdisk's frontend is a vbd, too.
const char* FrontendKindName(DeviceKind kind);
std::optional<DeviceKind> ParseBackendKind(const std::string& name);

// A backend of this domain.
struct DeviceKey {
  DeviceKind kind = DeviceKind::kVif;
  uint32_t domid = 0;  // Of the frontend.
  uint32_t device_id = 0;

  friend bool operator==(const DeviceKey& a, const DeviceKey& b) { return a.Tie() == b.Tie(); }
  friend bool operator!=(const DeviceKey& a, const DeviceKey& b) { return a.Tie() != b.Tie(); }
  friend bool operator<(const DeviceKey& a, const DeviceKey& b) { return a.Tie() < b.Tie(); }

 private:
  std::tuple<DeviceKind, uint32_t, uint32_t> Tie() const { return {kind, domid, device_id}; }
};

// "vif/7/0"
std::string FormatDevice(const DeviceKey& device);
// "/local/domain/0/backend"
std::string BackendRoot(uint32_t backend_domid);
// "/local/domain/0/backend/vif/7/0"
std::string BackendPath(uint32_t backend_domid, const DeviceKey& device);
// "/local/domain/7/device/vif/0"
std::string FrontendPath(const DeviceKey& device);

// Decimal digits without sign, space or leading zero, up to `max`: how domain and device ids are written.
std::optional<uint32_t> ParseId(const std::string& text, uint32_t max);
inline constexpr uint32_t kDomidMax = 0x7fef;  // Below DOMID_FIRST_RESERVED.
inline constexpr uint32_t kDeviceIdMax = 0x7fffffff;

// What a path that changed below a BackendRoot is about.
struct BackendPathParts {
  std::optional<DeviceKey> device;  // None: nothing that is, or is in, the directory of a device of kDeviceKinds.
  std::string leaf;                 // Below the device's directory: "", "state", "queue-0/ring-ref".
  // The path is the root, a kind of kDeviceKinds or a domain below one: devices may have come or gone with it.
  bool holds_devices = false;
};
BackendPathParts ParseBackendPath(const std::string& root, const std::string& path);

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_DEVICE_KEY_H_
