#include "common/devices/backend_listener.h"

#include <unistd.h>

#include <type_traits>
#include <utility>
#include <variant>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus {
namespace {

namespace action = backend_action;

constexpr absl::Duration kInterfacePoll = absl::Milliseconds(5);
constexpr absl::Duration kInterfaceWait = absl::Seconds(10);  // As libxl waits for a backend.
constexpr double kLogLinesPerSecond = 20;
constexpr double kLogLinesAtOnce = 400;

bool Exists(const std::string& interface) {
  return access(absl::StrCat("/sys/class/net/", interface).c_str(), F_OK) == 0;
}

// A vbd's script leaves a loop device behind if it is called anew without having been called to remove it.
bool LeavesThingsBehind(const DeviceKey& device) { return device.kind == DeviceKind::kVbd; }

ScriptRunner::Call CallOf(HotplugCommand command, bool may_fail) {
  return {{std::move(command.program), std::move(command.arguments), std::move(command.environment), -1}, may_fail};
}

}  // namespace

absl::StatusOr<std::unique_ptr<BackendListener>> BackendListener::Start(EventLoop& loop, Options options) {
  absl::StatusOr<std::unique_ptr<Xenstore>> store = Xenstore::Open();
  if (!store.ok()) return store.status();
  absl::StatusOr<std::unique_ptr<BackendStore>> backends = BackendStore::Open(**store, options.scope);
  if (!backends.ok()) return backends.status();
  std::unique_ptr<BackendListener> listener(
      new BackendListener(loop, std::move(options), *std::move(store), *std::move(backends)));
  if (absl::Status status = listener->LookAround(); !status.ok()) return status;
  return listener;
}

BackendListener::BackendListener(EventLoop& loop, Options options, std::unique_ptr<Xenstore> store,
                                 std::unique_ptr<BackendStore> backends)
    : loop_(loop),
      options_(std::move(options)),
      store_(std::move(store)),
      backends_(std::move(backends)),
      scripts_(loop, options_.scripts_at_once),
      qemus_(loop, *store_, options_.qemu, options_.qemu_log_directory, *this),
      tracker_(options_.times),
      log_limit_(kLogLinesPerSecond, kLogLinesAtOnce) {}

BackendListener::~BackendListener() {
  loop_.Unwatch(store_->watch_fd());
  loop_.Cancel(look_timer_);
  loop_.Cancel(deadline_timer_);
  for (auto& [run, about] : runs_) loop_.Cancel(about.timer);
}

absl::Status BackendListener::LookAround() {
  // The watch first: what changes while we look is looked at again.
  const absl::StatusOr<Xenstore::WatchId> watch =
      store_->Watch(backends_->root(), [this](const std::string& path) { OnChanged(path); });
  if (!watch.ok()) return watch.status();
  if (options_.scope == BackendScope::kAllDomains) {
    if (absl::Status status = backends_->DisableUdev(); !status.ok()) {
      return absl::Status(status.code(),
                          absl::StrCat(status.message(), "; was this domain created with driver_domain=1?"));
    }
  }
  if (options_.scope != BackendScope::kNone) left_running_ = FindRunningScripts();
  const absl::StatusOr<std::vector<DeviceKey>> devices = backends_->List(backends_->root(), kTrackedBackendsMax);
  if (!devices.ok()) return devices.status();
  for (const DeviceKey& device : *devices) {
    ObserveNow(device, /*at_start=*/true);
    if (options_.scope == BackendScope::kAllDomains) RememberLoop(device);
  }
  if (options_.scope == BackendScope::kAllDomains) {
    const absl::StatusOr<std::vector<uint32_t>> guests = backends_->ListGuestRecords(kTrackedBackendsMax);
    if (!guests.ok()) return guests.status();
    for (const uint32_t domid : *guests) Carry(tracker_.GuestFound(domid, loop_.Now()));
  }
  loop_.WatchReadable(store_->watch_fd(), [this] {
    const absl::Status status = store_->DispatchWatches();
    if (!status.ok()) Lost(status);
  });
  return absl::OkStatus();
}

// The library may see it at a request before it does at the watches.
void BackendListener::Lost(const absl::Status& status) {
  if (std::exchange(lost_, true)) return;
  loop_.Unwatch(store_->watch_fd());
  Stop();
  if (options_.lost != nullptr) options_.lost(status);
}

void BackendListener::RememberLoop(const DeviceKey& device) {
  if (device.kind != DeviceKind::kVbd) return;
  LoopUse use = backends_->ReadLoopUse(device);
  if (!use.node.empty()) loops_[device] = std::move(use);
}

void BackendListener::ReleaseLoop(const DeviceKey& device) {
  const auto left = loops_.extract(device);
  if (left.empty()) return;
  for (const auto& [other, use] : loops_) {
    if (use.node == left.mapped().node) return;  // It has been given back, and taken again.
  }
  const absl::StatusOr<bool> released = ReleaseLoopDevice(left.mapped());
  if (!released.ok()) return Problem(released.status());
  if (*released) LogInfo("backend ", FormatDevice(device), ": ", left.mapped().node, " given back without its script");
}

void BackendListener::Stop() {
  stopped_ = true;
  touched_.clear();
  to_scan_.clear();
  loop_.Cancel(std::exchange(deadline_timer_, Scheduler::kNoTimer));
}

void BackendListener::OnChanged(const std::string& path) {
  if (stopped_) return;
  const BackendPathParts parts = ParseBackendPath(backends_->root(), path);
  if (parts.holds_devices) {
    to_scan_.insert(path);
  } else if (parts.device.has_value() && (parts.leaf.empty() || parts.leaf == "state" || parts.leaf == "online")) {
    touched_.insert(*parts.device);
  } else {
    return;
  }
  if (touched_.size() + to_scan_.size() > 2 * kTrackedBackendsMax) {
    touched_.clear();
    to_scan_ = {backends_->root()};
  }
  LookLater();
}

void BackendListener::LookLater() {
  if (look_timer_ == Scheduler::kNoTimer && !(touched_.empty() && to_scan_.empty())) {
    look_timer_ = loop_.After(absl::ZeroDuration(), [this] { LookOnce(); });
  }
}

// One device at a time: whatever else the loop serves does not wait for all of them.
void BackendListener::LookOnce() {
  look_timer_ = Scheduler::kNoTimer;
  if (!touched_.empty()) {
    const DeviceKey device = *touched_.begin();
    touched_.erase(touched_.begin());
    ObserveNow(device, /*at_start=*/false);
  } else if (!to_scan_.empty()) {
    const std::string path = *to_scan_.begin();
    to_scan_.erase(to_scan_.begin());
    if (absl::Status status = Scan(path); !status.ok()) Problem(status);
  }
  LookLater();
}

// Devices have come, or gone, below `path`.
absl::Status BackendListener::Scan(const std::string& path) {
  const absl::StatusOr<std::vector<DeviceKey>> devices = backends_->List(path, kTrackedBackendsMax);
  if (!devices.ok()) return devices.status();
  const std::set<DeviceKey> there(devices->begin(), devices->end());
  for (const DeviceKey& device : there) {
    if (!tracker_.Knows(device)) touched_.insert(device);
  }
  for (const BackendView& view : tracker_.List()) {
    const DeviceKey& device = view.seen.device;
    const std::string device_path = BackendPath(backends_->self(), device);
    if (device_path.compare(0, path.size(), path) == 0 && there.count(device) == 0) touched_.insert(device);
  }
  return absl::OkStatus();
}

void BackendListener::ObserveNow(const DeviceKey& device, bool at_start) {
  const absl::StatusOr<DeviceSnapshot> seen = backends_->Read(device);
  if (!seen.ok()) return Problem(seen.status());
  Carry(tracker_.Observe(*seen, at_start, loop_.Now()));
  if (options_.changed != nullptr) options_.changed();
}

void BackendListener::Carry(BackendActions actions) {
  for (const action::Action& each : actions) {
    std::visit(
        [this](const auto& todo) {
          using Todo = std::decay_t<decltype(todo)>;
          if constexpr (std::is_same_v<Todo, action::Report>) {
            Log(todo);
            if (!todo.phase.has_value()) ReleaseLoop(todo.device);
          } else if (stopped_) {
            return;  // The next listener finds what is left to do.
          } else if constexpr (std::is_same_v<Todo, action::RunScript>) {
            RunScript(todo);
          } else if constexpr (std::is_same_v<Todo, action::EndScript>) {
            EndScript(todo);
          } else if constexpr (std::is_same_v<Todo, action::RemovePath>) {
            if (absl::Status status = backends_->Remove(todo.device); !status.ok()) {
              Problem(absl::Status(status.code(), absl::StrCat("backend ", FormatDevice(todo.device),
                                                               ": not removed: ", status.message())));
            }
            touched_.insert(todo.device);
            LookLater();
          } else if constexpr (std::is_same_v<Todo, action::StartQemu>) {
            qemus_.Start(todo.domid);
          } else if constexpr (std::is_same_v<Todo, action::EndQemu>) {
            qemus_.End(todo.domid);
          } else if constexpr (std::is_same_v<Todo, action::CleanGuest>) {
            if (absl::Status status = backends_->RemoveGuestRecords(todo.domid); !status.ok()) Problem(status);
          }
        },
        each);
  }
  SetTimer();
  if (!actions.empty() && options_.changed != nullptr) options_.changed();
}

void BackendListener::SetTimer() {
  loop_.Cancel(std::exchange(deadline_timer_, Scheduler::kNoTimer));
  const std::optional<absl::Duration> next = tracker_.next_deadline();
  if (stopped_ || !next.has_value()) return;
  deadline_timer_ = loop_.After(*next - loop_.Now(), [this] {
    deadline_timer_ = Scheduler::kNoTimer;
    Carry(tracker_.Tick(loop_.Now()));
  });
}

void BackendListener::RunScript(const action::RunScript& todo) {
  Run& run = runs_[todo.run];
  run.device = todo.device;
  run.online = todo.online;
  // The last time that its nodes are certain to be there.
  if (!todo.online) RememberLoop(todo.device);
  const auto end_later = [this, &todo, &run](absl::Status status) {
    run.timer = loop_.After(absl::ZeroDuration(),
                            [this, id = todo.run, device = todo.device, status] { ScriptEnded(id, device, status); });
  };
  const absl::StatusOr<HotplugNodes> nodes = backends_->ReadHotplugNodes(todo.device);
  if (!nodes.ok()) return end_later(nodes.status());
  const bool without_script = todo.device.kind == DeviceKind::kVif && options_.vif_connector != nullptr &&
                              options_.vif_connector->Serves(todo.device, *nodes);
  if (without_script && todo.online) {
    const absl::Duration until = loop_.Now() + kInterfaceWait;
    run.timer = loop_.After(absl::ZeroDuration(), [this, id = todo.run, device = todo.device, until] {
      ConnectInterface(id, device, until);
    });
    return;
  }
  // What was connected without a script goes with its backend.
  if (without_script) return end_later(absl::OkStatus());

  const bool has_tap = todo.device.kind == DeviceKind::kVif && Exists(TapInterface(todo.device));
  absl::StatusOr<std::vector<HotplugCommand>> commands = HotplugCommands(todo.device, *nodes, todo.online, has_tap);
  if (!commands.ok()) return end_later(commands.status());
  std::vector<ScriptRunner::Call> calls;
  if (todo.online && todo.again) {
    if (LeavesThingsBehind(todo.device)) {
      const absl::StatusOr<std::vector<HotplugCommand>> undo =
          HotplugCommands(todo.device, *nodes, /*online=*/false, has_tap);
      for (const HotplugCommand& command : *undo) calls.push_back(CallOf(command, /*may_fail=*/true));
    }
    if (absl::Status status = backends_->ClearHotplugResult(todo.device); !status.ok()) return end_later(status);
  }
  for (HotplugCommand& command : *commands) {
    // As libxl: on the way out, go on after a failure.
    calls.push_back(CallOf(std::move(command), /*may_fail=*/!todo.online && commands->size() > 1));
  }
  SpawnedProcess predecessor;
  if (auto left = left_running_.extract(todo.device); !left.empty()) {
    LogInfo("backend ", FormatDevice(todo.device),
            ": waiting for the script that an earlier listener has left running");
    predecessor = {left.mapped().pid, std::move(left.mapped().pidfd)};
  }
  run.script = scripts_.Run(
      std::move(calls), options_.script_timeout,
      [this, id = todo.run, device = todo.device](absl::Status status) { ScriptEnded(id, device, status); },
      std::move(predecessor));
}

// netback says InitWait before it has registered its interface.
void BackendListener::ConnectInterface(action::ScriptRun id, const DeviceKey& device, absl::Duration until) {
  absl::Status status = options_.vif_connector->Connect(device);
  if (absl::IsNotFound(status) && loop_.Now() < until) {
    runs_.at(id).timer =
        loop_.After(kInterfacePoll, [this, id, device, until] { ConnectInterface(id, device, until); });
    return;
  }
  status.Update(backends_->WriteHotplugResult(device, status));
  ScriptEnded(id, device, status);
}

void BackendListener::EndScript(const action::EndScript& todo) {
  const auto found = runs_.find(todo.run);
  if (found == runs_.end()) return;
  if (found->second.script != 0) return scripts_.End(found->second.script, todo.patience);
  loop_.Cancel(found->second.timer);
  found->second.timer = loop_.After(absl::ZeroDuration(), [this, id = todo.run, device = found->second.device] {
    ScriptEnded(id, device, absl::CancelledError("ended: the device is being removed"));
  });
}

void BackendListener::ScriptEnded(action::ScriptRun run, const DeviceKey& device, const absl::Status& result) {
  const auto ended = runs_.extract(run);
  if (!ended.empty() && ended.mapped().online) {
    RememberLoop(device);
  } else if (result.ok()) {
    loops_.erase(device);
  }
  absl::StatusOr<DeviceSnapshot> seen = backends_->Read(device);
  if (!seen.ok()) {
    Problem(seen.status());  // The connection to xenstored is lost: as if the device were.
    seen = DeviceSnapshot{device};
  }
  Carry(tracker_.ScriptEnded(run, result, *seen, loop_.Now()));
}

void BackendListener::OnQemuStarted(uint32_t domid) { Carry(tracker_.QemuStarted(domid, loop_.Now())); }

void BackendListener::OnQemuEnded(uint32_t domid, const std::string& how) {
  LogInfo("qemu of domain ", domid, ": ", how);
  Carry(tracker_.QemuEnded(domid, how, loop_.Now()));
}

void BackendListener::Log(const action::Report& report) {
  // A listener that acts on nothing has nothing to tell; nor has one about each of libxl's devices in dom0.
  if (report.phase == DevicePhase::kListed && !report.problem) return;
  if (!log_limit_.Allow(loop_.Now())) return;
  if (const uint64_t refused = log_limit_.TakeRefused(); refused > 0) {
    LogWarning("backends: ", refused, " lines were left out here");
  }
  const std::string phase = report.phase.has_value() ? DevicePhaseName(*report.phase) : "removed";
  const std::string line = absl::StrCat("backend ", FormatDevice(report.device), ": ", phase,
                                        report.text.empty() ? "" : ": ", absl::CEscape(report.text));
  report.problem ? LogWarning(line) : LogInfo(line);
}

void BackendListener::Problem(const absl::Status& status) {
  if (absl::IsUnavailable(status)) return Lost(status);
  if (log_limit_.Allow(loop_.Now())) LogWarning(absl::CEscape(status.message()));
}

}  // namespace romulus
