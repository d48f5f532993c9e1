#include "common/attachments/suspend_port.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace romulus {

std::string SuspendPortPath(uint32_t domid) { return absl::StrCat("/libxl/", domid, "/romulus/suspend-port"); }

absl::StatusOr<std::optional<uint32_t>> ReadSuspendPort(const XenstoreAccess& store, uint32_t domid) {
  const absl::StatusOr<std::string> text = store.ReadOr(SuspendPortPath(domid), "");
  if (!text.ok()) return text.status();
  uint32_t port;
  if (!absl::SimpleAtoi(*text, &port)) return std::nullopt;
  return port;
}

}  // namespace romulus
