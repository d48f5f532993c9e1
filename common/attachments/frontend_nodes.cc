#include "common/attachments/frontend_nodes.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace romulus {
namespace {

using replication::v1::GuestAttachments;

// netfront's (drivers/net/xen-netfront.c, Linux 6.1; Xen's io/netif.h names those of other systems).
constexpr int kEntriesMax = 256;
constexpr size_t kValueBytesMax = 64;

bool IsRingEntry(absl::string_view key) {
  for (const char* name : {"tx-ring-ref", "rx-ring-ref", "event-channel", "event-channel-tx", "event-channel-rx"}) {
    if (key == name) return true;
  }
  return false;
}

bool IsFrontendEntry(absl::string_view key) {
  if (absl::ConsumePrefix(&key, "queue-")) {
    const size_t slash = key.find('/');
    uint32_t queue = 0;
    return slash != absl::string_view::npos && absl::SimpleAtoi(key.substr(0, slash), &queue) &&
           IsRingEntry(key.substr(slash + 1));
  }
  if (IsRingEntry(key) || key == "request-rx-copy" || key == "multi-queue-num-queues" || key == "xdp-headroom" ||
      key == "request-multicast-control") {
    return true;
  }
  return absl::StartsWith(key, "feature-") && key.find('/') == absl::string_view::npos;
}

std::string FrontendPath(uint32_t domid, uint32_t device_id) {
  return absl::StrCat(XenstoreDomainPath(domid), "/device/vif/", device_id);
}

absl::Status ReadEntries(Xenstore& store, const std::string& path, const std::string& prefix,
                         GuestAttachments::Frontend& frontend) {
  const absl::StatusOr<std::vector<std::string>> names =
      store.List(prefix.empty() ? path : absl::StrCat(path, "/", absl::StripSuffix(prefix, "/")));
  if (absl::IsNotFound(names.status())) return absl::OkStatus();
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    const std::string key = absl::StrCat(prefix, name);
    if (prefix.empty() && absl::StartsWith(name, "queue-")) {
      if (absl::Status status = ReadEntries(store, path, key + "/", frontend); !status.ok()) return status;
    } else if (IsFrontendEntry(key)) {
      const absl::StatusOr<std::string> value = store.ReadOr(absl::StrCat(path, "/", key), "");
      if (!value.ok()) return value.status();
      (*frontend.mutable_entries())[key] = *value;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadFrontends(Xenstore& store, uint32_t domid, GuestAttachments& attachments) {
  attachments.clear_vifs();
  const absl::StatusOr<std::vector<std::string>> devices =
      store.List(absl::StrCat(XenstoreDomainPath(domid), "/device/vif"));
  if (absl::IsNotFound(devices.status())) return absl::OkStatus();
  if (!devices.ok()) return devices.status();
  for (const std::string& device : *devices) {
    uint32_t device_id = 0;
    if (!absl::SimpleAtoi(device, &device_id)) continue;
    GuestAttachments::Frontend* const frontend = attachments.add_vifs();
    frontend->set_device_id(device_id);
    absl::Status status = ReadEntries(store, FrontendPath(domid, device_id), "", *frontend);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ValidateFrontend(const GuestAttachments::Frontend& frontend) {
  if (frontend.entries().size() > kEntriesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("vif ", frontend.device_id(), " has ", frontend.entries().size(), " frontend entries"));
  }
  for (const auto& [key, value] : frontend.entries()) {
    if (!IsFrontendEntry(key) || value.size() > kValueBytesMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("vif ", frontend.device_id(), ": '", key, "' is nothing that a frontend tells its backend"));
    }
  }
  return absl::OkStatus();
}

absl::Status WriteFrontend(XenstoreAccess& transaction, uint32_t domid, const GuestAttachments::Frontend& frontend) {
  if (absl::Status status = ValidateFrontend(frontend); !status.ok()) return status;
  const std::string path = FrontendPath(domid, frontend.device_id());
  for (const auto& [key, value] : frontend.entries()) {
    // Nodes below a guest's node belong to the guest.
    if (absl::Status status = transaction.Write(absl::StrCat(path, "/", key), value); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace romulus
