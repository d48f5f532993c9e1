#include "primary/domain/device_nodes.h"

#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

using replication::v1::DomainDescription;
using Nodes = std::map<std::string, std::string>;

// Deep enough for platform/... and vm-data/...; whoever nests deeper is not a toolstack.
constexpr int kDeepestEntry = 6;
constexpr size_t kMostEntries = 256;

absl::StatusOr<std::vector<std::string>> ListOrNothing(const Xenstore& store, const std::string& path) {
  absl::StatusOr<std::vector<std::string>> names = store.List(path);
  if (absl::IsNotFound(names.status())) return std::vector<std::string>();
  return names;
}

// The direct children of `path` with their values.
absl::StatusOr<Nodes> ReadNodes(const Xenstore& store, const std::string& path) {
  const absl::StatusOr<std::vector<std::string>> names = ListOrNothing(store, path);
  if (!names.ok()) return names.status();
  Nodes nodes;
  for (const std::string& name : *names) {
    const absl::StatusOr<std::string> value = store.ReadOr(absl::StrCat(path, "/", name), "");
    if (!value.ok()) return value.status();
    nodes[name] = *value;
  }
  return nodes;
}

std::string Take(Nodes& nodes, const std::string& name) {
  auto node = nodes.extract(name);
  return node.empty() ? std::string() : node.mapped();
}

// Negotiated by the two ends, or made anew with every backend.
bool BelongsToTheConnection(const std::string& name) {
  static const auto* const names = new std::set<std::string>{"frontend",   "frontend-id",     "backend",
                                                             "backend-id", "online",          "state",
                                                             "handle",     "hotplug-status",  "hotplug-error",
                                                             "error",      "removable",       "dev",
                                                             "mode",       "physical-device", "physical-device-path",
                                                             "sectors",    "sector-size",     "physical-sector-size",
                                                             "info",       "bootable",        "device-type"};
  return names->count(name) != 0 || absl::StartsWith(name, "feature-") || absl::StartsWith(name, "multi-queue-") ||
         absl::StartsWith(name, "max-ring-") || absl::StartsWith(name, "discard-");
}

template <typename Device>
void KeepFurtherEntries(const Nodes& nodes, Device& device) {
  for (const auto& [name, value] : nodes) {
    if (!BelongsToTheConnection(name)) (*device.mutable_backend_entries())[name] = value;
  }
}

// What the toolstack wrote for device `id`: libxl's own copy, which the backend has not added to, or the backend's
// nodes where libxl has not made the device.
absl::StatusOr<Nodes> ReadBackend(const Xenstore& store, uint32_t domid, const std::string& kind,
                                  const std::string& id) {
  absl::StatusOr<Nodes> nodes = ReadNodes(store, absl::StrCat("/libxl/", domid, "/device/", kind, "/", id));
  if (!nodes.ok() || !nodes->empty()) return nodes;
  const absl::StatusOr<std::string> backend =
      store.Read(absl::StrCat(XenstoreDomainPath(domid), "/device/", kind, "/", id, "/backend"));
  if (!backend.ok()) return backend.status();
  return ReadNodes(store, *backend);
}

absl::Status CheckBackendIsHere(const Xenstore& store, const DomainDescription& domain, const std::string& device) {
  const absl::StatusOr<std::string> backend =
      store.ReadOr(absl::StrCat(XenstoreDomainPath(domain.domid()), "/device/", device, "/backend-id"), "0");
  if (!backend.ok() || *backend == "0") return backend.status();
  return absl::FailedPreconditionError(absl::StrCat("domain '", domain.name(), "' (id ", domain.domid(),
                                                    ") can't be protected: its device ", device,
                                                    " is served by driver domain ", *backend, ", not by domain 0"));
}

absl::Status FillVif(const Xenstore& store, const std::string& id, uint32_t device_id, DomainDescription& domain) {
  absl::StatusOr<Nodes> nodes = ReadBackend(store, domain.domid(), "vif", id);
  if (!nodes.ok()) return nodes.status();
  replication::v1::Vif& vif = *domain.add_vifs();
  vif.set_device_id(device_id);
  vif.set_mac(Take(*nodes, "mac"));
  vif.set_bridge(Take(*nodes, "bridge"));
  vif.set_script(Take(*nodes, "script"));
  vif.set_name(Take(*nodes, "vifname"));
  vif.set_type(Take(*nodes, "type"));
  KeepFurtherEntries(*nodes, vif);
  return absl::OkStatus();
}

absl::Status FillVbd(const Xenstore& store, const std::string& id, uint32_t device_id, DomainDescription& domain) {
  absl::StatusOr<Nodes> nodes = ReadBackend(store, domain.domid(), "vbd", id);
  if (!nodes.ok()) return nodes.status();
  replication::v1::Vbd& vbd = *domain.add_vbds();
  vbd.set_device_id(device_id);
  vbd.set_name((*nodes)["dev"]);
  vbd.set_read_only((*nodes)["mode"] == "r");
  vbd.set_backend_type(Take(*nodes, "type"));
  vbd.set_params(Take(*nodes, "params"));
  vbd.set_script(Take(*nodes, "script"));
  KeepFurtherEntries(*nodes, vbd);
  return absl::OkStatus();
}

absl::Status FillDevices(const Xenstore& store, DomainDescription& domain, std::vector<std::string>& other_devices) {
  const std::string path = XenstoreDomainPath(domain.domid()) + "/device";
  const absl::StatusOr<std::vector<std::string>> kinds = ListOrNothing(store, path);
  if (!kinds.ok()) return kinds.status();
  for (const std::string& kind : *kinds) {
    if (kind == "suspend") continue;  // No device: the node for the guest's suspend event channel.
    const absl::StatusOr<std::vector<std::string>> ids = ListOrNothing(store, absl::StrCat(path, "/", kind));
    if (!ids.ok()) return ids.status();
    if (kind != "vif" && kind != "vbd") {
      if (!ids->empty()) other_devices.push_back(kind);
      continue;
    }
    for (const std::string& id : *ids) {
      uint32_t device_id = 0;
      if (!absl::SimpleAtoi(id, &device_id)) continue;
      absl::Status status = CheckBackendIsHere(store, domain, absl::StrCat(kind, "/", id));
      if (status.ok()) {
        status = kind == "vif" ? FillVif(store, id, device_id, domain) : FillVbd(store, id, device_id, domain);
      }
      if (!status.ok()) return status;
    }
  }
  // A passed-through device has no frontend where the guest uses the hardware itself.
  const auto pci = ListOrNothing(store, absl::StrCat("/libxl/", domain.domid(), "/device/pci"));
  if (pci.ok() && !pci->empty()) other_devices.push_back("pci");
  return pci.status();
}

absl::Status FillEntries(const Xenstore& store, const std::string& base, const std::string& key, int depth,
                         DomainDescription& domain) {
  const absl::StatusOr<std::vector<std::string>> names = ListOrNothing(store, absl::StrCat(base, "/", key));
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    const std::string child = absl::StrCat(key, "/", name);
    if (key == "control" && !absl::StartsWith(name, "feature-") && !absl::StartsWith(name, "platform-feature-")) {
      continue;
    }
    if (domain.xenstore_entries_size() >= kMostEntries || depth == 0) return absl::OkStatus();
    const absl::StatusOr<std::string> value = store.ReadOr(absl::StrCat(base, "/", child), "");
    if (!value.ok()) return value.status();
    if (!value->empty()) (*domain.mutable_xenstore_entries())[child] = *value;
    if (absl::Status status = FillEntries(store, base, child, depth - 1, domain); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status FillConsole(const Xenstore& store, DomainDescription& domain) {
  absl::StatusOr<Nodes> nodes = ReadNodes(store, XenstoreDomainPath(domain.domid()) + "/console");
  if (!nodes.ok()) return nodes.status();
  if (nodes->empty()) return absl::OkStatus();
  replication::v1::Console& console = *domain.mutable_console();
  console.set_type(Take(*nodes, "type"));
  console.set_output(Take(*nodes, "output"));
  uint32_t limit = 0;
  if (absl::SimpleAtoi(Take(*nodes, "limit"), &limit)) console.set_limit_bytes(limit);
  return absl::OkStatus();
}

}  // namespace

absl::Status FillFromXenstore(const Xenstore& store, DomainDescription& domain,
                              std::vector<std::string>& other_devices) {
  const std::string path = XenstoreDomainPath(domain.domid());
  const absl::StatusOr<uint64_t> static_max = store.ReadNumber(path + "/memory/static-max");
  const absl::StatusOr<uint64_t> target = store.ReadNumber(path + "/memory/target");
  if (!static_max.ok()) return static_max.status();
  if (!target.ok()) return target.status();
  domain.set_memory_static_max_kib(*static_max);
  domain.set_memory_target_kib(*target);
  const absl::StatusOr<uint64_t> video = store.ReadNumber(path + "/memory/videoram");
  // libxl writes -1 for a guest that has none.
  domain.set_video_memory_kib(video.value_or(0));
  if (absl::Status status = FillDevices(store, domain, other_devices); !status.ok()) return status;
  for (const char* key : {"control", "vm-data", "platform"}) {
    if (absl::Status status = FillEntries(store, path, key, kDeepestEntry, domain); !status.ok()) return status;
  }
  return FillConsole(store, domain);
}

}  // namespace romulus
