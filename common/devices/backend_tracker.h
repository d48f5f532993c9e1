#ifndef ROMULUS_COMMON_DEVICES_BACKEND_TRACKER_H_
#define ROMULUS_COMMON_DEVICES_BACKEND_TRACKER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/devices/backend_tracker_types.h"

namespace romulus {

// Everything that can be decided wrongly about backends. Pure: what happened comes in, what to do comes out, to be done
// in order; `now` is any clock that only goes forward. Not thread safe.
//
// What `state` and `online` make of a device (libxl_device.c, backend_watch_callback, 4.17, mended):
//
//   known  state          online   here
//   no     -, nonsense    any      ignored
//   any    any            -        ignored
//   no     6              any      ignored; at the start: known (an earlier listener's), as below
//   no     1, 2           any      tracked; added: script, or QEMU. At the start, with hotplug-status: connected
//   no     3, 4, 5, 7, 8  any      tracked as connected: its script has run
//   yes    6              0        removed: script, nodes; with its last device the guest's leftovers
//   yes    5              0        its driver gets some time to close it; then as 6
//   yes    1              1        made anew: added
//   yes    other          any      nothing, but what an addition waits for
//   yes    no node        any      gone; a script that runs is ended
//
// "Ours" is asked anew at each Observe: what is not (any more) is only listed. A removal during an addition waits for
// the script's end, or ends it, and then disconnects.
class BackendTracker {
 public:
  explicit BackendTracker(BackendTimes times = {}) : times_(times) {}

  // `at_start`: it was there when the listener began.
  BackendActions Observe(const DeviceSnapshot& seen, bool at_start, absl::Duration now);
  // `seen`: read after the script's end.
  BackendActions ScriptEnded(backend_action::ScriptRun run, const absl::Status& result, const DeviceSnapshot& seen,
                             absl::Duration now);
  // At the start, after all Observes: records of a guest are there, of its QEMU perhaps, too.
  BackendActions GuestFound(uint32_t domid, absl::Duration now);
  BackendActions QemuStarted(uint32_t domid, absl::Duration now);
  BackendActions QemuEnded(uint32_t domid, const std::string& how, absl::Duration now);
  // When next_deadline() has come.
  BackendActions Tick(absl::Duration now);

  std::optional<absl::Duration> next_deadline() const;
  std::vector<BackendView> List() const;
  bool Knows(const DeviceKey& device) const { return devices_.count(device) != 0; }
  size_t device_count() const { return devices_.size(); }
  size_t guest_count() const { return guests_.size(); }
  // Devices that there was no room for.
  uint64_t refused() const { return refused_; }
  // Breaks the process on a broken promise of this class itself.
  void CheckInvariants() const;

 private:
  struct Device {
    DeviceSnapshot seen;
    std::optional<XenbusState> state_before;  // At the observation before the last.
    DevicePhase phase = DevicePhase::kListed;
    std::optional<absl::Duration> deadline;
    backend_action::ScriptRun run = 0;  // Of the script that runs; 0: none.
    bool run_ending = false;            // It has been told to end.
    bool script_ran = false;            // There is something to disconnect.
    ScriptOutcome outcome = ScriptOutcome::kNone;
    std::string outcome_text;
    int attempts = 0;
    int removal_attempts = 0;
    absl::Duration state_since;
  };
  enum class Qemu { kNone, kStarting, kRunning, kEnding, kRetrying, kGivenUp };
  struct Guest {
    Qemu qemu = Qemu::kNone;
    std::optional<absl::Duration> deadline;
    int attempts = 0;
    absl::Duration running_since;
  };

  void Update(Device& device, const DeviceSnapshot& seen);
  void Arrive(Device& device, bool at_start);
  void Reconsider(Device& device);
  void Add(Device& device);
  void RunOnline(Device& device);
  void Connected(Device& device, const std::string& text);
  void AddFailed(Device& device, const std::string& text);
  void Remove(Device& device);
  void Disconnect(Device& device);
  void RemovePath(Device& device);
  void LetGo(Device& device);
  void Drop(const DeviceKey& key, const std::string& text);
  void Enter(Device& device, DevicePhase phase, const std::string& text, bool problem = false);
  backend_action::ScriptRun RunScript(Device& device, bool online);
  void DeviceDeadline(Device& device);
  void GuestDeadline(uint32_t domid, Guest& guest);
  void StartQemu(uint32_t domid, Guest& guest);
  void QemuFailed(uint32_t domid, Guest& guest, const std::string& how);
  void SettleGuest(uint32_t domid);
  std::vector<Device*> DisksOf(uint32_t domid);
  bool HasDevices(uint32_t domid) const;
  BackendActions Finish();
  absl::Duration Backoff(int attempts) const;

  const BackendTimes times_;
  std::map<DeviceKey, Device> devices_;
  std::map<uint32_t, Guest> guests_;  // Those with devices that are not only listed, or with a QEMU.
  std::map<backend_action::ScriptRun, DeviceKey> runs_;
  backend_action::ScriptRun last_run_ = 0;
  uint64_t refused_ = 0;
  // Of the event that is being handled.
  absl::Duration now_;
  BackendActions actions_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_BACKEND_TRACKER_H_
