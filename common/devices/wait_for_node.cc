#include "common/devices/wait_for_node.h"

#include <poll.h>

#include "absl/strings/str_cat.h"
#include "common/base/monotonic_time.h"

namespace romulus {
absl::Status WaitForNode(Xenstore& store, const std::string& path,
                         const std::function<bool(const std::string& value)>& wanted, absl::Duration timeout) {
  const absl::Duration deadline = MonotonicNow() + timeout;
  absl::StatusOr<Xenstore::WatchId> watch = store.Watch(path, [](const std::string&) {});
  if (!watch.ok()) return watch.status();
  absl::Status status;
  while (true) {
    const absl::StatusOr<std::string> value = store.ReadOr(path, "");
    if (!value.ok()) {
      status = value.status();
      break;
    }
    if (wanted(*value)) break;
    const absl::Duration left = deadline - MonotonicNow();
    if (left <= absl::ZeroDuration()) {
      status = absl::DeadlineExceededError(
          absl::StrCat("xenstore: ", path, " is still '", *value, "' after ", absl::FormatDuration(timeout)));
      break;
    }
    pollfd ready{store.watch_fd(), POLLIN, 0};
    poll(&ready, 1, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1);
    status = store.DispatchWatches();
    if (!status.ok()) break;
  }
  store.Unwatch(*watch);
  return status;
}

}  // namespace romulus
