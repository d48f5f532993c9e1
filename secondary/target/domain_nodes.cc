#include "secondary/target/domain_nodes.h"

#include <time.h>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/devices/agent_mark.h"

namespace romulus {
namespace {

using replication::v1::DomainDescription;
using Access = XenstorePermission::Access;

// Collects writes so that a list of nodes reads as a list; the first error wins and stops the rest.
class NodeWriter {
 public:
  NodeWriter(XenstoreAccess& store, std::string base) : store_(store), base_(std::move(base)) {}

  NodeWriter& Directory(absl::string_view path, const std::vector<XenstorePermission>& permissions) {
    if (status_.ok()) status_ = store_.MakeDirectory(absl::StrCat(base_, path), permissions);
    return *this;
  }
  NodeWriter& Value(absl::string_view path, const std::string& value) {
    if (status_.ok()) status_ = store_.Write(absl::StrCat(base_, path), value);
    return *this;
  }
  const absl::Status& status() const { return status_; }

 private:
  XenstoreAccess& store_;
  const std::string base_;
  absl::Status status_;
};

const char* LibxlTypeName(replication::v1::DomainType type) {
  switch (type) {
    case replication::v1::PV:
      return "pv";
    case replication::v1::HVM:
      return "hvm";
    default:
      return "pvh";
  }
}

// Further entries come from the other host: only what a toolstack writes for its guest to read, never what libxl, a
// backend or this agent relies on.
bool IsCarriedEntry(absl::string_view key) {
  for (const char c : key) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '_' || c == '/' || c == '@' || c == '.';
    if (!plain) return false;
  }
  if (absl::StrContains(key, "//") || absl::EndsWith(key, "/")) return false;
  return absl::StartsWith(key, "vm-data/") || absl::StartsWith(key, "platform/") ||
         absl::StartsWith(key, "control/feature-") || absl::StartsWith(key, "control/platform-feature-");
}

// As libxl leaves no directory of backends without a backend.
absl::Status RemoveWithEmptyParent(Xenstore& store, const std::string& parent, const std::string& name) {
  return store.Transact([&](XenstoreAccess& transaction) {
    if (absl::Status status = transaction.Remove(absl::StrCat(parent, "/", name)); !status.ok()) return status;
    const absl::StatusOr<std::vector<std::string>> left = transaction.List(parent);
    if (absl::IsNotFound(left.status())) return absl::OkStatus();
    if (!left.ok()) return left.status();
    return left->empty() ? transaction.Remove(parent) : absl::OkStatus();
  });
}

absl::Status WriteStandbyNodesIn(XenstoreAccess& store, const StandbyDomainIds& ids, const DomainDescription& domain) {
  const std::string path = XenstoreDomainPath(ids.domid);
  const std::string uuid = FormatUuid(domain.uuid());
  const std::string vm_path = absl::StrCat("/vm/", uuid);
  const std::string libxl_path = LibxlPath(ids.domid);
  const std::vector<XenstorePermission> hidden = {{0, Access::kNone}};
  const std::vector<XenstorePermission> guest_reads = {{0, Access::kNone}, {ids.domid, Access::kRead}};
  const std::vector<XenstorePermission> guest_owns = {{ids.domid, Access::kNone}};

  for (const std::string& stale : {path, vm_path, libxl_path}) {
    if (absl::Status status = store.Remove(stale); !status.ok()) return status;
  }

  NodeWriter libxl(store, libxl_path);
  libxl.Directory("", hidden)
      .Directory("/device", hidden)
      .Value("/type", LibxlTypeName(domain.type()))
      .Value("/dm-version", "qemu_xen")
      .Directory("/romulus", hidden)
      .Value("/romulus/state", kStateStandby)
      .Value("/romulus/name", domain.name());
  if (absl::Status status = store.Write(AgentMarkPath(ids.domid), kMarkStandby); !status.ok()) return status;
  if (!libxl.status().ok()) return libxl.status();

  NodeWriter vm(store, vm_path);
  vm.Directory("", guest_reads)
      .Value("/uuid", uuid)
      .Value("/name", StandbyName(domain.name()))
      .Value("/start_time", absl::StrCat(time(nullptr)));
  if (!vm.status().ok()) return vm.status();

  NodeWriter node(store, path);
  node.Directory("", guest_reads)
      .Value("/vm", vm_path)
      .Value("/name", StandbyName(domain.name()))
      .Directory("/cpu", guest_reads)
      .Directory("/memory", guest_reads)
      .Directory("/device", guest_reads)
      .Directory("/device/suspend/event-channel", guest_owns)
      .Directory("/control", guest_reads)
      .Directory("/control/shutdown", guest_owns)
      .Directory("/control/feature-poweroff", guest_owns)
      .Directory("/control/feature-reboot", guest_owns)
      .Directory("/control/feature-suspend", guest_owns)
      .Directory("/control/sysrq", guest_owns)
      .Directory("/data", guest_owns)
      .Directory("/drivers", guest_owns)
      .Directory("/feature", guest_owns)
      .Directory("/attr", guest_owns)
      .Directory("/error", guest_owns)
      .Value("/control/platform-feature-multiprocessor-suspend", "1")
      .Value("/control/platform-feature-xs_reset_watches", "1")
      .Value("/memory/static-max", absl::StrCat(domain.memory_static_max_kib()))
      .Value("/memory/target", absl::StrCat(domain.memory_target_kib()))
      .Value("/memory/videoram", absl::StrCat(domain.video_memory_kib()))
      .Value("/domid", absl::StrCat(ids.domid))
      .Value("/store/port", absl::StrCat(ids.store_port));
  for (uint32_t vcpu = 0; vcpu < domain.vcpu_count(); ++vcpu) {
    node.Value(absl::StrCat("/cpu/", vcpu, "/availability"), "online");
  }
  for (const auto& [key, value] : domain.xenstore_entries()) {
    if (IsCarriedEntry(key)) node.Value(absl::StrCat("/", key), value);
  }
  return node.status();
}

}  // namespace

std::string FormatUuid(absl::string_view bytes) {
  const std::string hex = absl::BytesToHexString(bytes);
  if (hex.size() != 32) return hex;
  return absl::StrCat(hex.substr(0, 8), "-", hex.substr(8, 4), "-", hex.substr(12, 4), "-", hex.substr(16, 4), "-",
                      hex.substr(20));
}

std::string StandbyName(const std::string& name) { return absl::StrCat(name, "--standby"); }

std::string LibxlPath(uint32_t domid) { return absl::StrCat("/libxl/", domid); }

std::string StandbyStatePath(uint32_t domid) { return absl::StrCat(LibxlPath(domid), "/romulus/state"); }

absl::Status WriteStandbyNodes(Xenstore& store, const StandbyDomainIds& ids, const DomainDescription& domain) {
  return store.Transact([&](XenstoreAccess& transaction) { return WriteStandbyNodesIn(transaction, ids, domain); });
}

absl::Status MarkRestored(Xenstore& store, uint32_t domid) {
  return store.Write(StandbyStatePath(domid), kStateRestored);
}

absl::Status WriteRunningNodes(Xenstore& store, const StandbyDomainIds& ids, const DomainDescription& domain,
                               uint64_t store_mfn, uint64_t console_mfn) {
  return store.Transact([&](XenstoreAccess& transaction) {
    NodeWriter node(transaction, "");
    const std::string path = XenstoreDomainPath(ids.domid);
    node.Value(absl::StrCat(path, "/name"), domain.name())
        .Value(absl::StrCat("/vm/", FormatUuid(domain.uuid()), "/name"), domain.name());
    if (store_mfn != 0) node.Value(absl::StrCat(path, "/store/ring-ref"), absl::StrCat(store_mfn));
    if (console_mfn != 0) node.Value(absl::StrCat(path, "/console/ring-ref"), absl::StrCat(console_mfn));
    if (!node.status().ok()) return node.status();
    return UnmarkStandby(transaction, ids.domid);
  });
}

absl::Status UnmarkStandby(XenstoreAccess& store, uint32_t domid) {
  for (const char* node : {"/romulus/state", "/romulus/name"}) {
    if (absl::Status status = store.Remove(absl::StrCat(LibxlPath(domid), node)); !status.ok()) return status;
  }
  return store.Write(AgentMarkPath(domid), kMarkGuest);
}

absl::Status RemoveDomainNodes(Xenstore& store, uint32_t domid, const std::string& uuid) {
  absl::Status first;
  // Backends first: a frontend that vanishes under its backend makes the backend complain.
  for (const char* kind : {"vif", "console", "vbd"}) {
    for (const char* directory : {"/local/domain/0/backend", "/local/domain/0/error/backend"}) {
      first.Update(RemoveWithEmptyParent(store, absl::StrCat(directory, "/", kind), absl::StrCat(domid)));
    }
  }
  first.Update(store.Remove(XenstoreDomainPath(domid)));
  // Never /vm itself.
  if (!uuid.empty()) first.Update(store.Remove(absl::StrCat("/vm/", uuid)));
  first.Update(store.Remove(LibxlPath(domid)));
  return first;
}

}  // namespace romulus
