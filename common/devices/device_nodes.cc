#include "common/devices/device_nodes.h"

#include "absl/strings/str_cat.h"
#include "common/devices/xenbus_state.h"

namespace romulus {
namespace {

using Access = XenstorePermission::Access;

absl::Status WriteAll(XenstoreAccess& store, const std::string& path, const NodeValues& values) {
  for (const auto& [key, value] : values) {
    if (absl::Status status = store.Write(absl::StrCat(path, "/", key), value); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status WriteAll(XenstoreAccess& store, const std::string& path, const NodeValues& values,
                      const std::vector<XenstorePermission>& permissions) {
  for (const auto& [key, value] : values) {
    absl::Status status = store.Write(absl::StrCat(path, "/", key), value, permissions);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

bool IsFirstConsole(const BackendDevice& device) { return device.kind == "console" && device.device_id == 0; }

}  // namespace

std::string BackendDevice::backend_path() const {
  return absl::StrCat("/local/domain/0/backend/", kind, "/", domid, "/", device_id);
}

std::string BackendDevice::frontend_path() const {
  if (IsFirstConsole(*this)) return absl::StrCat(XenstoreDomainPath(domid), "/console");
  return absl::StrCat(XenstoreDomainPath(domid), "/device/", kind, "/", device_id);
}

std::string BackendDevice::libxl_path() const {
  return absl::StrCat("/libxl/", domid, "/device/", kind, "/", device_id);
}

absl::Status WriteBackendDevice(Xenstore& store, const BackendDevice& device, const NodeValues& backend,
                                const NodeValues& frontend, const NodeValues& frontend_read_only) {
  const std::vector<XenstorePermission> guest_owns = {{device.domid, Access::kNone}, {0, Access::kRead}};
  const std::vector<XenstorePermission> guest_reads = {{0, Access::kNone}, {device.domid, Access::kRead}};
  const std::string backend_path = device.backend_path();
  const std::string frontend_path = device.frontend_path();
  const std::string libxl_path = device.libxl_path();
  return store.Transact([&](XenstoreAccess& transaction) {
    absl::Status status;
    for (const std::string& stale : {libxl_path, frontend_path, backend_path}) {
      if (status = transaction.Remove(stale); !status.ok()) return status;
    }
    status = WriteAll(transaction, libxl_path, {{"frontend", frontend_path}, {"backend", backend_path}});
    if (!status.ok()) return status;
    // The first console's directory is not the guest's: what is there tells dom0 where to connect.
    status = transaction.MakeDirectory(frontend_path, IsFirstConsole(device) ? guest_reads : guest_owns);
    if (!status.ok()) return status;
    status = WriteAll(transaction, frontend_path, {{"backend", backend_path}});
    if (!status.ok()) return status;
    status = WriteAll(transaction, frontend_path, frontend, guest_owns);
    if (!status.ok()) return status;
    status = WriteAll(transaction, frontend_path, frontend_read_only, guest_reads);
    if (!status.ok()) return status;
    status = transaction.MakeDirectory(backend_path, guest_reads);
    if (!status.ok()) return status;
    status = WriteAll(transaction, backend_path, {{"frontend", frontend_path}});
    if (!status.ok()) return status;
    status = WriteAll(transaction, backend_path, backend);
    if (!status.ok()) return status;
    return WriteAll(transaction, libxl_path, backend);
  });
}

absl::Status RequestBackendRemoval(Xenstore& store, const BackendDevice& device) {
  const std::string path = device.backend_path();
  return store.Transact([&](XenstoreAccess& transaction) {
    const absl::StatusOr<std::string> state = transaction.Read(absl::StrCat(path, "/state"));
    if (absl::IsNotFound(state.status())) return absl::OkStatus();
    if (!state.ok()) return state.status();
    if (absl::Status s = transaction.Write(absl::StrCat(path, "/online"), "0"); !s.ok()) return s;
    if (*state != FormatXenbusState(XenbusState::kClosed)) {
      absl::Status s = transaction.Write(absl::StrCat(path, "/state"), FormatXenbusState(XenbusState::kClosing));
      if (!s.ok()) return s;
    }
    return transaction.Remove(device.frontend_path());
  });
}

}  // namespace romulus
