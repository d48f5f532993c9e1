#include "common/devices/backend_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/devices/agent_mark.h"
#include "common/devices/backend_tracker_types.h"

namespace romulus {
namespace {

// "" where there is none; an error is one of xenstored.
absl::StatusOr<std::string> ReadText(XenstoreAccess& store, const std::string& path) { return store.ReadOr(path, ""); }

// Below this domain's own directory: libxl keeps a driver domain's records there, too.
std::string GuestRecords(uint32_t domid) { return absl::StrCat("libxl/", domid); }
std::string QemuRecords(uint32_t domid) { return absl::StrCat("device-model/", domid); }

}  // namespace

absl::StatusOr<std::unique_ptr<BackendStore>> BackendStore::Open(Xenstore& store, BackendScope scope) {
  // dom0 knows itself even where nobody has written it down.
  const bool in_dom0 = scope != BackendScope::kAllDomains;
  const absl::StatusOr<std::string> domid = in_dom0 ? store.ReadOr("domid", "0") : store.Read("domid");
  if (!domid.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("this domain does not know its own id (", domid.status().message(),
                     "): in dom0, run xen-init-dom0; elsewhere, the toolstack has to write it"));
  }
  const std::optional<uint32_t> self = ParseId(*domid, kDomidMax);
  if (!self.has_value()) {
    return absl::FailedPreconditionError(absl::StrCat("xenstore: this domain's id is '", *domid, "'"));
  }
  if (scope == BackendScope::kAllDomains && *self == 0) {
    return absl::FailedPreconditionError(
        "this is dom0: libxl itself runs the hotplug scripts of the domains that it creates; run this in a driver "
        "domain");
  }
  return std::unique_ptr<BackendStore>(new BackendStore(store, scope, *self));
}

BackendStore::BackendStore(Xenstore& store, BackendScope scope, uint32_t self)
    : store_(store), scope_(scope), self_(self), root_(BackendRoot(self)) {}

std::string BackendStore::Node(const DeviceKey& device, const char* name) const {
  return absl::StrCat(root_, "/", FormatDevice(device), "/", name);
}

absl::StatusOr<DeviceOwner> BackendStore::OwnerOf(uint32_t domid) {
  if (scope_ == BackendScope::kAllDomains) return DeviceOwner::kOurs;
  if (scope_ == BackendScope::kNone) return DeviceOwner::kOthers;
  const absl::StatusOr<std::string> mark = ReadText(store_, AgentMarkPath(domid));
  if (!mark.ok()) return mark.status();
  if (*mark == kMarkStandby) return DeviceOwner::kOurs;
  if (*mark == kMarkGuest) return DeviceOwner::kOursToConnect;
  return DeviceOwner::kOthers;
}

absl::StatusOr<DeviceSnapshot> BackendStore::Read(const DeviceKey& device) {
  DeviceSnapshot seen;
  seen.device = device;
  const absl::StatusOr<std::string> state = store_.Read(Node(device, "state"));
  if (absl::IsNotFound(state.status())) return seen;
  if (!state.ok()) return state.status();
  seen.exists = true;
  seen.state = ParseXenbusState(*state);
  const absl::StatusOr<std::string> online = ReadText(store_, Node(device, "online"));
  if (!online.ok()) return online.status();
  if (*online == "1" || *online == "0") seen.online = *online == "1";
  const absl::StatusOr<DeviceOwner> owner = OwnerOf(device.domid);
  if (!owner.ok()) return owner.status();
  seen.owner = *owner;
  if (seen.owner == DeviceOwner::kOthers) return seen;

  const absl::StatusOr<std::string> frontend = ReadText(store_, Node(device, "frontend"));
  if (!frontend.ok()) return frontend.status();
  const absl::StatusOr<std::string> frontend_id = ReadText(store_, Node(device, "frontend-id"));
  if (!frontend_id.ok()) return frontend_id.status();
  seen.frontend_fits = *frontend == FrontendPath(device) && ParseId(*frontend_id, kDomidMax) == device.domid;
  absl::StatusOr<std::string> status = ReadText(store_, Node(device, "hotplug-status"));
  if (!status.ok()) return status.status();
  seen.hotplug_status = *std::move(status);
  if (seen.hotplug_status != "error") return seen;
  absl::StatusOr<std::string> error = ReadText(store_, Node(device, "hotplug-error"));
  if (!error.ok()) return error.status();
  seen.hotplug_error = *std::move(error);
  return seen;
}

absl::StatusOr<std::vector<DeviceKey>> BackendStore::List(const std::string& path, size_t max) {
  std::vector<DeviceKey> devices;
  std::vector<std::string> paths = {path};
  // From the root it is three levels down to a device.
  while (!paths.empty() && devices.size() < max) {
    const std::string at = std::move(paths.back());
    paths.pop_back();
    const absl::StatusOr<std::vector<std::string>> names = store_.List(at);
    if (absl::IsNotFound(names.status())) continue;
    if (!names.ok()) return names.status();
    for (const std::string& name : *names) {
      const std::string below = absl::StrCat(at, "/", name);
      const BackendPathParts parts = ParseBackendPath(root_, below);
      if (parts.device.has_value() && devices.size() < max) devices.push_back(*parts.device);
      if (parts.holds_devices && paths.size() < max) paths.push_back(below);
    }
  }
  return devices;
}

absl::StatusOr<HotplugNodes> BackendStore::ReadHotplugNodes(const DeviceKey& device) {
  HotplugNodes nodes;
  const std::pair<const char*, std::string*> wanted[] = {
      {"script", &nodes.script}, {"type", &nodes.type}, {"gatewaydev", &nodes.gatewaydev}};
  for (const auto& [name, value] : wanted) {
    absl::StatusOr<std::string> text = ReadText(store_, Node(device, name));
    if (!text.ok()) return text.status();
    *value = *std::move(text);
  }
  return nodes;
}

LoopUse BackendStore::ReadLoopUse(const DeviceKey& vbd) {
  // Not its `type`: libxl calls a file in a driver domain, into which it can't look, "phy". Only for a file does the
  // script write `node`.
  const absl::StatusOr<std::string> node = ReadText(store_, Node(vbd, "node"));
  const absl::StatusOr<std::string> params = ReadText(store_, Node(vbd, "params"));
  if (!node.ok() || node->empty() || !params.ok()) return {};
  return {*node, *params};
}

absl::Status BackendStore::ClearHotplugResult(const DeviceKey& device) {
  return store_.Transact([&](XenstoreAccess& transaction) {
    const absl::StatusOr<std::string> status = transaction.Read(Node(device, "hotplug-status"));
    if (status.ok()) {
      if (absl::Status s = transaction.Write(Node(device, "hotplug-status"), ""); !s.ok()) return s;
    } else if (!absl::IsNotFound(status.status())) {
      return status.status();
    }
    return transaction.Remove(Node(device, "hotplug-error"));
  });
}

absl::Status BackendStore::WriteHotplugResult(const DeviceKey& device, const absl::Status& result) {
  return store_.Transact([&](XenstoreAccess& transaction) {
    // Never make anew what has been removed meanwhile.
    const absl::StatusOr<std::string> state = transaction.Read(Node(device, "state"));
    if (!state.ok()) return absl::IsNotFound(state.status()) ? absl::OkStatus() : state.status();
    if (result.ok()) return transaction.Write(Node(device, "hotplug-status"), "connected");
    const std::string text(result.message().substr(0, kErrorTextBytesMax));
    if (absl::Status s = transaction.Write(Node(device, "hotplug-error"), text); !s.ok()) return s;
    return transaction.Write(Node(device, "hotplug-status"), "error");
  });
}

absl::Status BackendStore::Remove(const DeviceKey& device) {
  const std::string path = BackendPath(self_, device);
  absl::Status status = store_.Transact([&](XenstoreAccess& transaction) {
    const absl::StatusOr<std::string> online = transaction.ReadOr(absl::StrCat(path, "/online"), "");
    if (!online.ok()) return online.status();
    if (*online == "1") return absl::FailedPreconditionError("it has been made anew");
    return transaction.Remove(path);
  });
  if (!status.ok()) return status;
  const std::string kind = absl::StrCat(root_, "/", BackendKindName(device.kind));
  RemoveIfEmpty(absl::StrCat(kind, "/", device.domid));
  RemoveIfEmpty(kind);
  return absl::OkStatus();
}

// Best effort: who may remove a device's directory may not always remove those above.
void BackendStore::RemoveIfEmpty(const std::string& path) {
  store_.Transact([&](XenstoreAccess& transaction) { return transaction.RemoveIfEmpty(path); }).IgnoreError();
}

absl::StatusOr<std::vector<uint32_t>> BackendStore::ListGuestRecords(size_t max) {
  std::vector<uint32_t> guests;
  const absl::StatusOr<std::vector<std::string>> names = store_.List("libxl");
  if (absl::IsNotFound(names.status())) return guests;
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    const std::optional<uint32_t> domid = ParseId(name, kDomidMax);
    if (domid.has_value() && guests.size() < max) guests.push_back(*domid);
  }
  return guests;
}

absl::Status BackendStore::RemoveGuestRecords(uint32_t domid) {
  absl::Status status = store_.Remove(GuestRecords(domid));
  status.Update(store_.Remove(QemuRecords(domid)));
  for (const DeviceKind kind : kDeviceKinds) {
    RemoveIfEmpty(absl::StrCat(root_, "/", BackendKindName(kind), "/", domid));
  }
  return status;
}

absl::Status BackendStore::DisableUdev() { return store_.Write("libxl/disable_udev", "1"); }

}  // namespace romulus
