#ifndef ROMULUS_COMMON_DEVICES_BACKEND_TRACKER_TYPES_H_
#define ROMULUS_COMMON_DEVICES_BACKEND_TRACKER_TYPES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "common/devices/device_key.h"
#include "common/devices/device_snapshot.h"
#include "common/devices/xenbus_state.h"

// What the decision core of the backend listener (backend_tracker.h) asks for and tells: plain values.
namespace romulus {

enum class DevicePhase {
  kListed,           // Not ours, or not to be touched: only shown.
  kWaiting,          // For the backend's driver to get to InitWait; a qdisk: for its QEMU.
  kConnecting,       // Its script connects it.
  kConnected,        // Nothing to do until it is removed.
  kRetrying,         // Adding it failed; it is tried again after a while.
  kGivenUp,          // Adding or removing it failed too often. It is still taken down when it is removed.
  kLeftToToolstack,  // Closed; `xl destroy` takes it down. What it leaves behind is cleaned up after a while.
  kClosing,          // Its removal is asked for; its driver has not closed it yet.
  kDisconnecting,    // Its script disconnects it.
  kRemoving,         // Its nodes are being removed.
  kAbandoned,        // Its nodes are gone while its script still runs.
};
// "waiting"
const char* DevicePhaseName(DevicePhase phase);

enum class ScriptOutcome { kNone, kRunning, kOk, kFailed };

struct BackendTimes {
  absl::Duration driver_wait = absl::Seconds(10);  // libxl's LIBXL_INIT_TIMEOUT
  // libxl waits 10 s (LIBXL_DESTROY_TIMEOUT) for Closed, and then takes the frontend away by force: that comes first.
  absl::Duration closing_wait = absl::Seconds(15);
  // For `xl destroy`: as long as it waits for the driver, and for its script (40 s).
  absl::Duration toolstack_wait = absl::Seconds(55);
  // A script that connects what is being removed may end by itself for this long.
  absl::Duration script_patience = absl::Seconds(5);
  // Between attempts: doubled each time.
  absl::Duration retry_first = absl::Seconds(1);
  absl::Duration retry_longest = absl::Seconds(60);
  absl::Duration qemu_start = absl::Seconds(60);  // LIBXL_DEVICE_MODEL_START_TIMEOUT
  // A QEMU that has run for this long gets all its attempts again.
  absl::Duration qemu_stable = absl::Seconds(60);
};

inline constexpr int kBackendAttemptsMax = 8;  // Some two minutes, with the pauses above.
inline constexpr size_t kTrackedBackendsMax = 4096;
// Of what is kept of an error's text.
inline constexpr size_t kErrorTextBytesMax = 1024;

namespace backend_action {

using ScriptRun = uint64_t;

// Answered by BackendTracker::ScriptEnded, always.
struct RunScript {
  ScriptRun run = 0;
  DeviceKey device;
  bool online = true;  // false: disconnect
  bool again = false;  // An earlier attempt may have left something behind.
};
// Let it end by itself for `patience`, then end it. Answered by ScriptEnded.
struct EndScript {
  ScriptRun run = 0;
  absl::Duration patience;
};
// The device's directory below backend/, unless its `online` is 1 by now. Answered by an Observe of what is there then,
// where the device is still tracked.
struct RemovePath {
  DeviceKey device;
};
// Starts the guest's QEMU for qdisks, or adopts the one that runs. Answered by QemuStarted or QemuEnded; QemuEnded may
// also come later.
struct StartQemu {
  uint32_t domid = 0;
};
// Answered by QemuEnded.
struct EndQemu {
  uint32_t domid = 0;
};
// The guest has no device here any more: its empty directories and records.
struct CleanGuest {
  uint32_t domid = 0;
};
// For the log: a transition, in words. `phase` none: it is not tracked any more.
struct Report {
  DeviceKey device;
  std::optional<DevicePhase> phase;
  std::string text;
  bool problem = false;
};

using Action = std::variant<RunScript, EndScript, RemovePath, StartQemu, EndQemu, CleanGuest, Report>;

}  // namespace backend_action

using BackendActions = std::vector<backend_action::Action>;

// A device, for those who ask.
struct BackendView {
  DeviceSnapshot seen;
  DevicePhase phase = DevicePhase::kListed;
  ScriptOutcome outcome = ScriptOutcome::kNone;
  std::string outcome_text;
  int attempts = 0;
  absl::Duration state_since;  // On the clock of the events.
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_BACKEND_TRACKER_TYPES_H_
