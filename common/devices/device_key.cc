#include "common/devices/device_key.h"

#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace romulus {

const char* BackendKindName(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::kVif:
      return "vif";
    case DeviceKind::kVbd:
      return "vbd";
    case DeviceKind::kQdisk:
      return "qdisk";
  }
  return "";
}

const char* FrontendKindName(DeviceKind kind) { return kind == DeviceKind::kVif ? "vif" : "vbd"; }

std::optional<DeviceKind> ParseBackendKind(const std::string& name) {
  for (const DeviceKind kind : kDeviceKinds) {
    if (name == BackendKindName(kind)) return kind;
  }
  return std::nullopt;
}

std::string FormatDevice(const DeviceKey& device) {
  return absl::StrCat(BackendKindName(device.kind), "/", device.domid, "/", device.device_id);
}

std::string BackendRoot(uint32_t backend_domid) { return absl::StrCat("/local/domain/", backend_domid, "/backend"); }

std::string BackendPath(uint32_t backend_domid, const DeviceKey& device) {
  return absl::StrCat(BackendRoot(backend_domid), "/", FormatDevice(device));
}

std::string FrontendPath(const DeviceKey& device) {
  return absl::StrCat("/local/domain/", device.domid, "/device/", FrontendKindName(device.kind), "/", device.device_id);
}

std::optional<uint32_t> ParseId(const std::string& text, uint32_t max) {
  if (text.empty() || text.size() > 10 || (text[0] == '0' && text.size() > 1)) return std::nullopt;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
  }
  uint64_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || value > max) return std::nullopt;
  return static_cast<uint32_t>(value);
}

BackendPathParts ParseBackendPath(const std::string& root, const std::string& path) {
  BackendPathParts parts;
  if (path.compare(0, root.size(), root) != 0) return parts;
  if (path.size() == root.size()) {
    parts.holds_devices = true;
    return parts;
  }
  if (path[root.size()] != '/') return parts;
  const std::vector<std::string> names = absl::StrSplit(path.substr(root.size() + 1), absl::MaxSplits('/', 3));
  const std::optional<DeviceKind> kind = ParseBackendKind(names[0]);
  if (!kind.has_value()) return parts;
  if (names.size() == 1) {
    parts.holds_devices = true;
    return parts;
  }
  const std::optional<uint32_t> domid = ParseId(names[1], kDomidMax);
  if (!domid.has_value()) return parts;
  if (names.size() == 2) {
    parts.holds_devices = true;
    return parts;
  }
  const std::optional<uint32_t> device_id = ParseId(names[2], kDeviceIdMax);
  if (!device_id.has_value()) return parts;
  parts.device = DeviceKey{*kind, *domid, *device_id};
  if (names.size() == 4) parts.leaf = names[3];
  return parts;
}

}  // namespace romulus
