#include "common/devices/backend_tracker.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus {
namespace {

namespace action = backend_action;

constexpr char kConnectedStatus[] = "connected";  // What a script that has succeeded writes to hotplug-status.
constexpr char kErrorStatus[] = "error";

bool Acts(const DeviceSnapshot& seen) { return seen.owner != DeviceOwner::kOthers && seen.frontend_fits; }

bool IsNew(const DeviceSnapshot& seen) {
  return seen.exists && seen.state == XenbusState::kInitialising && seen.online == true;
}

// Where it was offline before, it was made anew: nobody but a toolstack takes `online` back to 1.
bool IsStarting(const DeviceSnapshot& seen) {
  return seen.exists && seen.online == true &&
         (seen.state == XenbusState::kUnknown || seen.state == XenbusState::kInitialising ||
          seen.state == XenbusState::kInitWait);
}

bool IsClosed(const DeviceSnapshot& seen) { return seen.state == XenbusState::kClosed && seen.online == false; }
bool IsClosing(const DeviceSnapshot& seen) { return seen.state == XenbusState::kClosing && seen.online == false; }

std::string StateText(const DeviceSnapshot& seen) {
  return seen.state.has_value() ? XenbusStateName(*seen.state) : "no state";
}

std::string Shortened(std::string text) {
  if (text.size() > kErrorTextBytesMax) text.resize(kErrorTextBytesMax);
  return text;
}

// Whether the script has connected the device, by what it says of itself.
absl::Status ScriptVerdict(const absl::Status& result, const DeviceSnapshot& seen) {
  const std::string error = Shortened(seen.hotplug_error);
  if (!result.ok()) {
    return error.empty() ? result : absl::Status(result.code(), absl::StrCat(result.message(), ": ", error));
  }
  if (seen.hotplug_status == kErrorStatus) {
    return absl::InternalError(error.empty() ? "the hotplug script says error in hotplug-status" : error);
  }
  // Without it netback never connects; blkback goes by other nodes.
  if (seen.device.kind == DeviceKind::kVif && seen.hotplug_status != kConnectedStatus) {
    return absl::InternalError(absl::StrCat("the hotplug script has ended, but hotplug-status is '",
                                            Shortened(seen.hotplug_status), "', not connected"));
  }
  return absl::OkStatus();
}

}  // namespace

const char* DevicePhaseName(DevicePhase phase) {
  constexpr const char* kNames[] = {"listed",        "waiting",  "connecting",        "connected",
                                    "retrying",      "given-up", "left-to-toolstack", "closing",
                                    "disconnecting", "removing", "abandoned"};
  return kNames[static_cast<int>(phase)];
}

BackendActions BackendTracker::Observe(const DeviceSnapshot& seen, bool at_start, absl::Duration now) {
  now_ = now;
  const auto found = devices_.find(seen.device);
  if (found == devices_.end()) {
    if (!seen.exists || !seen.state.has_value() || !seen.online.has_value()) return Finish();
    if (seen.state == XenbusState::kClosed && !at_start) return Finish();
    if (devices_.size() >= kTrackedBackendsMax) {
      if (refused_++ == 0) {
        actions_.emplace_back(action::Report{
            seen.device, std::nullopt,
            absl::StrCat("more than ", kTrackedBackendsMax, " devices: this and further ones are ignored"), true});
      }
      return Finish();
    }
    Device& device = devices_[seen.device];
    device.seen = seen;
    device.state_since = now;
    Arrive(device, at_start);
    return Finish();
  }
  Device& device = found->second;
  Update(device, seen);
  Reconsider(device);
  return Finish();
}

void BackendTracker::Update(Device& device, const DeviceSnapshot& seen) {
  // Nonsense tells nothing new.
  if (seen.exists && (!seen.state.has_value() || !seen.online.has_value())) {
    device.seen.exists = true;
    return;
  }
  if (seen.state != device.seen.state) device.state_since = now_;
  device.state_before = device.seen.state;
  device.seen = seen;
}

// A device that is not known, or is made anew in the place of one whose script has just ended.
void BackendTracker::Arrive(Device& device, bool at_start) {
  const DeviceSnapshot& seen = device.seen;
  device.attempts = 0;
  device.removal_attempts = 0;
  device.outcome = ScriptOutcome::kNone;
  device.outcome_text.clear();
  if (!Acts(seen)) {
    return Enter(device, DevicePhase::kListed,
                 seen.owner == DeviceOwner::kOthers ? "not ours" : "its frontend does not fit its place: not touched",
                 seen.owner != DeviceOwner::kOthers);
  }
  guests_[seen.device.domid];
  const bool has_status = seen.hotplug_status == kConnectedStatus && seen.state == XenbusState::kInitWait;
  if (IsStarting(seen) && !(at_start && has_status)) {
    device.script_ran = false;
    return Add(device);
  }
  device.script_ran = seen.device.kind != DeviceKind::kQdisk;
  if (device.script_ran) device.outcome = ScriptOutcome::kOk;
  Connected(device, at_start ? "found so" : "by somebody else");
  Reconsider(device);
}

// Of a known device, whatever has changed.
void BackendTracker::Reconsider(Device& device) {
  const DeviceSnapshot& seen = device.seen;
  const DeviceKey key = seen.device;
  if (!seen.exists) {
    if (device.run == 0) return Drop(key, "its nodes are gone");
    if (device.phase != DevicePhase::kAbandoned) Enter(device, DevicePhase::kAbandoned, "its nodes are gone");
    return LetGo(device);
  }
  if (device.phase == DevicePhase::kAbandoned) return;  // Until its script has ended.
  if (!Acts(seen)) {
    if (device.phase == DevicePhase::kListed) return;
    Enter(device, DevicePhase::kListed, "not ours any more");
    return LetGo(device);
  }
  if (device.phase == DevicePhase::kListed) {
    if (device.run == 0 && seen.state != XenbusState::kClosed) Arrive(device, /*at_start=*/false);
    return;
  }
  if (IsClosed(seen) || IsClosing(seen)) return Remove(device);
  switch (device.phase) {
    case DevicePhase::kWaiting:
    case DevicePhase::kRetrying:
      if (key.kind == DeviceKind::kQdisk) return;
      if (seen.state == XenbusState::kConnected) {
        device.script_ran = true;
        return Connected(device, "by somebody else");
      }
      if (device.phase == DevicePhase::kWaiting && seen.state == XenbusState::kInitWait) RunOnline(device);
      return;
    case DevicePhase::kConnected:
    case DevicePhase::kGivenUp:
      // A qdisk stays in Initialising until its QEMU has got to it.
      if (IsNew(seen) && device.state_before != XenbusState::kInitialising) Arrive(device, /*at_start=*/false);
      return;
    case DevicePhase::kLeftToToolstack:
    case DevicePhase::kClosing:
    case DevicePhase::kRemoving:
      if (IsStarting(seen)) return Arrive(device, /*at_start=*/false);
      if (seen.online == true && device.phase != DevicePhase::kRemoving) Connected(device, "it is in use again");
      return;
    case DevicePhase::kConnecting:
    case DevicePhase::kDisconnecting:
    case DevicePhase::kListed:
    case DevicePhase::kAbandoned:
      return;
  }
}

void BackendTracker::Add(Device& device) {
  const DeviceKey& key = device.seen.device;
  device.deadline.reset();
  if (key.kind == DeviceKind::kQdisk) {
    Guest& guest = guests_[key.domid];
    if (guest.qemu == Qemu::kRunning) return Connected(device, "its guest's QEMU runs");
    if (guest.qemu == Qemu::kGivenUp) guest = Guest{};
    return Enter(device, DevicePhase::kWaiting, "for its guest's QEMU");
  }
  if (device.seen.state == XenbusState::kInitWait) return RunOnline(device);
  Enter(device, DevicePhase::kWaiting, absl::StrCat("for its driver, in state ", StateText(device.seen)));
  device.deadline = now_ + times_.driver_wait;
}

void BackendTracker::RunOnline(Device& device) {
  const bool again = device.attempts > 0;
  device.script_ran = true;
  RunScript(device, /*online=*/true);
  std::get<action::RunScript>(actions_.back()).again = again;
  Enter(device, DevicePhase::kConnecting, absl::StrCat("attempt ", device.attempts + 1));
}

action::ScriptRun BackendTracker::RunScript(Device& device, bool online) {
  ROMULUS_CHECK(device.run == 0);
  device.run = ++last_run_;
  device.run_ending = false;
  device.outcome = ScriptOutcome::kRunning;
  runs_.emplace(device.run, device.seen.device);
  actions_.emplace_back(action::RunScript{device.run, device.seen.device, online, false});
  return device.run;
}

void BackendTracker::Connected(Device& device, const std::string& text) {
  device.deadline.reset();
  device.attempts = 0;
  Enter(device, DevicePhase::kConnected, text);
}

void BackendTracker::AddFailed(Device& device, const std::string& text) {
  device.outcome = ScriptOutcome::kFailed;
  device.outcome_text = Shortened(text);
  ++device.attempts;
  device.deadline.reset();
  if (device.attempts >= kBackendAttemptsMax) {
    return Enter(device, DevicePhase::kGivenUp, absl::StrCat("after ", device.attempts, " attempts: ", text), true);
  }
  const absl::Duration pause = Backoff(device.attempts);
  device.deadline = now_ + pause;
  Enter(device, DevicePhase::kRetrying, absl::StrCat("in ", absl::FormatDuration(pause), ": ", text), true);
}

absl::Duration BackendTracker::Backoff(int attempts) const {
  absl::Duration pause = times_.retry_first;
  for (int i = 1; i < attempts && pause < times_.retry_longest; ++i) pause *= 2;
  return std::min(pause, times_.retry_longest);
}

// It is closed or closing, and offline.
void BackendTracker::Remove(Device& device) {
  switch (device.phase) {
    case DevicePhase::kConnecting:
      return LetGo(device);
    case DevicePhase::kDisconnecting:
    case DevicePhase::kRemoving:
    case DevicePhase::kListed:
    case DevicePhase::kAbandoned:
      return;
    case DevicePhase::kLeftToToolstack:
      return;  // Its deadline stands.
    default:
      break;
  }
  const bool ours = device.seen.owner == DeviceOwner::kOurs;
  // Its driver is its QEMU; without one nobody will close it.
  const bool driverless =
      device.seen.device.kind == DeviceKind::kQdisk && guests_[device.seen.device.domid].qemu != Qemu::kRunning;
  if (ours && (IsClosed(device.seen) || driverless)) return Disconnect(device);
  if (!ours) {
    device.deadline = now_ + times_.toolstack_wait;
    return Enter(device, DevicePhase::kLeftToToolstack, "to be taken down by `xl destroy`");
  }
  if (device.phase == DevicePhase::kClosing) return;
  device.deadline = now_ + times_.closing_wait;
  Enter(device, DevicePhase::kClosing, "its removal is asked for");
}

void BackendTracker::Disconnect(Device& device) {
  device.deadline.reset();
  if (device.seen.device.kind == DeviceKind::kQdisk || !device.script_ran) return RemovePath(device);
  RunScript(device, /*online=*/false);
  Enter(device, DevicePhase::kDisconnecting, absl::StrCat("in state ", StateText(device.seen)));
}

void BackendTracker::RemovePath(Device& device) {
  device.script_ran = false;
  if (device.removal_attempts >= kBackendAttemptsMax) {
    device.deadline.reset();
    return Enter(device, DevicePhase::kGivenUp, "its nodes can't be removed", true);
  }
  ++device.removal_attempts;
  device.deadline = now_ + Backoff(device.removal_attempts);
  actions_.emplace_back(action::RemovePath{device.seen.device});
  if (device.phase != DevicePhase::kRemoving) Enter(device, DevicePhase::kRemoving, "");
}

// Ends its script, if one runs that connects it.
void BackendTracker::LetGo(Device& device) {
  if (device.run == 0 || device.run_ending) return;
  device.run_ending = true;
  actions_.emplace_back(action::EndScript{device.run, times_.script_patience});
}

void BackendTracker::Drop(const DeviceKey& key, const std::string& text) {
  const auto found = devices_.find(key);
  ROMULUS_CHECK(found != devices_.end() && found->second.run == 0);
  const bool acted = found->second.phase != DevicePhase::kListed;
  devices_.erase(found);
  if (acted) actions_.emplace_back(action::Report{key, std::nullopt, text, false});
}

void BackendTracker::Enter(Device& device, DevicePhase phase, const std::string& text, bool problem) {
  if (phase == DevicePhase::kListed || phase == DevicePhase::kAbandoned || phase == DevicePhase::kConnecting ||
      phase == DevicePhase::kDisconnecting) {
    device.deadline.reset();
  }
  device.phase = phase;
  actions_.emplace_back(action::Report{device.seen.device, phase, text, problem});
}

BackendActions BackendTracker::ScriptEnded(action::ScriptRun run, const absl::Status& result,
                                           const DeviceSnapshot& seen, absl::Duration now) {
  now_ = now;
  const auto found = runs_.find(run);
  if (found == runs_.end()) return Finish();
  const DeviceKey key = found->second;
  ROMULUS_CHECK(seen.device == key);
  runs_.erase(found);
  Device& device = devices_.at(key);
  ROMULUS_CHECK(device.run == run);
  device.run = 0;
  Update(device, seen);
  const absl::Status verdict = ScriptVerdict(result, device.seen);
  const bool failed = device.phase == DevicePhase::kConnecting ? !verdict.ok() : !result.ok();
  device.outcome = failed ? ScriptOutcome::kFailed : ScriptOutcome::kOk;
  device.outcome_text = failed ? Shortened(std::string(verdict.ok() ? result.message() : verdict.message())) : "";
  if (!device.seen.exists) {
    // A script that fails says so in hotplug-error: it may have made the directory anew for that.
    if (device.phase != DevicePhase::kListed) actions_.emplace_back(action::RemovePath{key});
    Drop(key, "its nodes are gone");
    return Finish();
  }
  switch (device.phase) {
    case DevicePhase::kConnecting:
      if (!Acts(device.seen)) {
        Enter(device, DevicePhase::kListed, "not ours any more");
      } else if (IsClosed(device.seen) || IsClosing(device.seen)) {
        device.phase = DevicePhase::kConnected;  // As far as its removal goes.
        Remove(device);
      } else if (failed) {
        AddFailed(device, device.outcome_text);
      } else {
        Connected(device, "its script has ended well");
      }
      break;
    case DevicePhase::kDisconnecting:
      if (failed) {
        actions_.emplace_back(action::Report{key, DevicePhase::kDisconnecting,
                                             absl::StrCat("its script failed: ", device.outcome_text), true});
      }
      if (!Acts(device.seen)) {
        Enter(device, DevicePhase::kListed, "not ours any more");
      } else if (IsStarting(device.seen)) {
        Arrive(device, /*at_start=*/false);
      } else {
        RemovePath(device);
      }
      break;
    default:  // Abandoned, or listed meanwhile.
      if (IsClosed(device.seen)) {
        device.phase = DevicePhase::kConnected;
        if (Acts(device.seen)) {
          Remove(device);
        } else {
          Enter(device, DevicePhase::kListed, "not ours any more");
        }
      } else {
        Arrive(device, /*at_start=*/false);
      }
      break;
  }
  return Finish();
}

BackendActions BackendTracker::Tick(absl::Duration now) {
  now_ = now;
  for (auto next = devices_.begin(); next != devices_.end();) {
    Device& device = (next++)->second;  // DeviceDeadline may drop it.
    if (device.deadline.has_value() && *device.deadline <= now) DeviceDeadline(device);
  }
  for (auto& [domid, guest] : guests_) {
    if (guest.deadline.has_value() && *guest.deadline <= now) GuestDeadline(domid, guest);
  }
  return Finish();
}

void BackendTracker::DeviceDeadline(Device& device) {
  device.deadline.reset();
  switch (device.phase) {
    case DevicePhase::kWaiting:
      return AddFailed(
          device, absl::StrCat("its driver is not in InitWait but in ", StateText(device.seen), " after ",
                               absl::FormatDuration(times_.driver_wait), ": is the kernel's backend driver loaded?"));
    case DevicePhase::kRetrying:
      return Add(device);
    case DevicePhase::kLeftToToolstack:
    case DevicePhase::kClosing:
      actions_.emplace_back(action::Report{device.seen.device, device.phase, "this takes too long: going on", true});
      return Disconnect(device);
    case DevicePhase::kRemoving:
      return RemovePath(device);
    default:
      return;
  }
}

BackendActions BackendTracker::GuestFound(uint32_t domid, absl::Duration now) {
  now_ = now;
  Guest& guest = guests_[domid];
  if (guest.qemu == Qemu::kNone) {
    guest.qemu = Qemu::kRunning;  // If it does not, EndQemu finds that out.
    guest.running_since = now;
  }
  return Finish();
}

BackendActions BackendTracker::QemuStarted(uint32_t domid, absl::Duration now) {
  now_ = now;
  const auto found = guests_.find(domid);
  if (found == guests_.end() || found->second.qemu != Qemu::kStarting) return Finish();
  Guest& guest = found->second;
  guest.qemu = Qemu::kRunning;
  guest.deadline.reset();
  guest.running_since = now;
  for (Device* device : DisksOf(domid)) {
    if (device->phase == DevicePhase::kWaiting || device->phase == DevicePhase::kRetrying ||
        device->phase == DevicePhase::kGivenUp) {
      Connected(*device, "its guest's QEMU runs");
    }
  }
  return Finish();
}

BackendActions BackendTracker::QemuEnded(uint32_t domid, const std::string& how, absl::Duration now) {
  now_ = now;
  const auto found = guests_.find(domid);
  if (found == guests_.end()) return Finish();
  Guest& guest = found->second;
  switch (guest.qemu) {
    case Qemu::kEnding:
      guest.qemu = Qemu::kNone;
      guest.deadline.reset();
      break;
    case Qemu::kStarting:
    case Qemu::kRunning:
      QemuFailed(domid, guest, how);
      break;
    default:
      break;
  }
  return Finish();
}

void BackendTracker::QemuFailed(uint32_t domid, Guest& guest, const std::string& how) {
  if (guest.qemu == Qemu::kRunning && now_ - guest.running_since >= times_.qemu_stable) guest.attempts = 0;
  ++guest.attempts;
  const bool again = guest.attempts < kBackendAttemptsMax;
  guest.qemu = again ? Qemu::kRetrying : Qemu::kGivenUp;
  guest.deadline.reset();
  if (again) guest.deadline = now_ + Backoff(guest.attempts);
  for (Device* device : DisksOf(domid)) {
    device->outcome = ScriptOutcome::kFailed;
    device->outcome_text = Shortened(how);
    device->attempts = guest.attempts;
    if (IsClosing(device->seen) || IsClosed(device->seen)) {
      Remove(*device);
    } else {
      Enter(*device, again ? DevicePhase::kRetrying : DevicePhase::kGivenUp, absl::StrCat("its guest's QEMU: ", how),
            true);
    }
  }
}

void BackendTracker::GuestDeadline(uint32_t domid, Guest& guest) {
  guest.deadline.reset();
  if (guest.qemu == Qemu::kRetrying) return StartQemu(domid, guest);
  if (guest.qemu != Qemu::kStarting) return;
  QemuFailed(domid, guest,
             absl::StrCat("it has not said that it runs within ", absl::FormatDuration(times_.qemu_start)));
  // One that hangs is ended before the next is started; its end is answered in kRetrying, where it tells nothing.
  actions_.emplace_back(action::EndQemu{domid});
}

void BackendTracker::StartQemu(uint32_t domid, Guest& guest) {
  guest.qemu = Qemu::kStarting;
  guest.deadline = now_ + times_.qemu_start;
  actions_.emplace_back(action::StartQemu{domid});
}

// The qdisks of this guest that are ours.
std::vector<BackendTracker::Device*> BackendTracker::DisksOf(uint32_t domid) {
  std::vector<Device*> disks;
  for (auto at = devices_.lower_bound({DeviceKind::kQdisk, domid, 0});
       at != devices_.end() && at->first.kind == DeviceKind::kQdisk && at->first.domid == domid; ++at) {
    if (at->second.phase != DevicePhase::kListed) disks.push_back(&at->second);
  }
  return disks;
}

bool BackendTracker::HasDevices(uint32_t domid) const {
  for (const DeviceKind kind : kDeviceKinds) {
    for (auto at = devices_.lower_bound({kind, domid, 0});
         at != devices_.end() && at->first.kind == kind && at->first.domid == domid; ++at) {
      if (at->second.phase != DevicePhase::kListed) return true;
    }
  }
  return false;
}

void BackendTracker::SettleGuest(uint32_t domid) {
  Guest& guest = guests_.at(domid);
  const std::vector<Device*> disks = DisksOf(domid);
  // A disk whose nodes are being removed does not need it any more; the last one's removal ends it.
  const bool wanted =
      std::any_of(disks.begin(), disks.end(), [](const Device* disk) { return disk->phase != DevicePhase::kRemoving; });
  if (wanted && guest.qemu == Qemu::kNone) StartQemu(domid, guest);
  if (!wanted && (guest.qemu == Qemu::kStarting || guest.qemu == Qemu::kRunning)) {
    guest.qemu = Qemu::kEnding;
    guest.deadline.reset();
    actions_.emplace_back(action::EndQemu{domid});
  }
  if (!wanted && (guest.qemu == Qemu::kRetrying || guest.qemu == Qemu::kGivenUp)) guest = Guest{};
  if (guest.qemu != Qemu::kNone || HasDevices(domid)) return;
  guests_.erase(domid);
  actions_.emplace_back(action::CleanGuest{domid});
}

// Guests last: what their devices have come to decides about them.
BackendActions BackendTracker::Finish() {
  std::vector<uint32_t> guests;
  for (const auto& [domid, guest] : guests_) guests.push_back(domid);
  for (const uint32_t domid : guests) SettleGuest(domid);
  return std::exchange(actions_, {});
}

std::optional<absl::Duration> BackendTracker::next_deadline() const {
  std::optional<absl::Duration> next;
  const auto consider = [&next](const std::optional<absl::Duration>& deadline) {
    if (deadline.has_value() && (!next.has_value() || *deadline < *next)) next = deadline;
  };
  for (const auto& [key, device] : devices_) consider(device.deadline);
  for (const auto& [domid, guest] : guests_) consider(guest.deadline);
  return next;
}

std::vector<BackendView> BackendTracker::List() const {
  std::vector<BackendView> views;
  for (const auto& [key, device] : devices_) {
    views.push_back(
        {device.seen, device.phase, device.outcome, device.outcome_text, device.attempts, device.state_since});
  }
  return views;
}

void BackendTracker::CheckInvariants() const {
  ROMULUS_CHECK(devices_.size() <= kTrackedBackendsMax);
  size_t running = 0;
  for (const auto& [key, device] : devices_) {
    ROMULUS_CHECK(key == device.seen.device);
    const bool acted = device.phase != DevicePhase::kListed;
    ROMULUS_CHECK(!acted || device.phase == DevicePhase::kAbandoned || Acts(device.seen));
    ROMULUS_CHECK(!acted || guests_.count(key.domid) == 1);
    if (device.run != 0) {
      ++running;
      ROMULUS_CHECK(runs_.at(device.run) == key);
    }
    ROMULUS_CHECK(device.outcome_text.size() <= kErrorTextBytesMax);
    // Nothing waits for ever, and nothing is done for what only is listed.
    switch (device.phase) {
      case DevicePhase::kConnecting:
      case DevicePhase::kDisconnecting:
      case DevicePhase::kAbandoned:
        ROMULUS_CHECK(device.run != 0 && !device.deadline.has_value());
        break;
      case DevicePhase::kWaiting:
      case DevicePhase::kRetrying:
        ROMULUS_CHECK(device.run == 0);
        if (key.kind == DeviceKind::kQdisk) {
          const Qemu qemu = guests_.at(key.domid).qemu;
          ROMULUS_CHECK(qemu == Qemu::kStarting || qemu == Qemu::kRetrying || qemu == Qemu::kEnding);
        } else {
          ROMULUS_CHECK(device.deadline.has_value());
        }
        break;
      case DevicePhase::kLeftToToolstack:
      case DevicePhase::kClosing:
      case DevicePhase::kRemoving:
        ROMULUS_CHECK(device.run == 0 && device.deadline.has_value());
        break;
      case DevicePhase::kListed:
        ROMULUS_CHECK(!device.deadline.has_value());
        break;
      case DevicePhase::kConnected:
      case DevicePhase::kGivenUp:
        ROMULUS_CHECK(device.run == 0 && !device.deadline.has_value());
        break;
    }
  }
  ROMULUS_CHECK(running == runs_.size());
  for (const auto& [domid, guest] : guests_) {
    ROMULUS_CHECK(guest.qemu == Qemu::kEnding || guest.qemu == Qemu::kRunning || guest.qemu == Qemu::kGivenUp ||
                  guest.qemu == Qemu::kNone || guest.deadline.has_value());
  }
}

}  // namespace romulus
