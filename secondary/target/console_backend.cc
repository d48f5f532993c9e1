#include "secondary/target/console_backend.h"

#include "absl/strings/str_cat.h"
#include "common/devices/device_nodes.h"
#include "common/devices/xenbus_state.h"

namespace romulus {

namespace {
constexpr uint32_t kDefaultLimitBytes = 1024 * 1024;  // LIBXL_XENCONSOLE_LIMIT
}

absl::Status WriteConsole(Xenstore& store, const StandbyDomainIds& ids, const replication::v1::Console& console) {
  const uint32_t limit = console.limit_bytes() != 0 ? console.limit_bytes() : kDefaultLimitBytes;
  return WriteBackendDevice(store, {.kind = "console", .domid = ids.domid, .device_id = 0},
                            {{"frontend-id", absl::StrCat(ids.domid)},
                             {"online", "1"},
                             {"state", FormatXenbusState(XenbusState::kInitialising)},
                             {"protocol", "vt100"}},
                            {{"backend-id", absl::StrCat(ids.console_domid)}},
                            {{"limit", absl::StrCat(limit)},
                             {"type", console.type().empty() ? "xenconsoled" : console.type()},
                             {"output", console.output().empty() ? "pty" : console.output()},
                             {"tty", ""},
                             {"port", absl::StrCat(ids.console_port)}});
}

}  // namespace romulus
