// Any sequence of xenstore paths, values and ends of scripts and QEMUs: the listener's parsing and decisions stay
// bounded, act on nothing that is not there or not ours, and can always take down what they have taken up.
// Input: pairs of a byte that chooses what happens and a byte or more that say to what.
#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/devices/backend_tracker.h"
#include "common/devices/device_key.h"
#include "tests/fuzz/seeds.h"

namespace romulus {
namespace {

namespace action = backend_action;

// A xenstore that is written at random, and a tracker that looks at it.
class World {
 public:
  explicit World(std::string input) : input_(std::move(input)) {}

  void Run() {
    while (at_ < input_.size()) {
      Step();
      tracker_->CheckInvariants();
      Check();
    }
    TakeDown();
  }

 private:
  uint8_t Byte() { return at_ < input_.size() ? input_[at_++] : 0; }

  // Mostly something that makes sense, sometimes whatever bytes come.
  std::string Value(std::initializer_list<const char*> sensible) {
    const uint8_t choice = Byte();
    if (choice < 0xe0) return *(sensible.begin() + choice % sensible.size());
    const size_t length = std::min<size_t>(Byte(), input_.size() - at_);
    at_ += length;
    return input_.substr(at_ - length, length);
  }

  DeviceKey Device() {
    const uint8_t which = Byte();
    // Few, so that events meet.
    return {kDeviceKinds[which % 3], 1u + which / 3 % 2, which / 6u % 3};
  }

  DeviceSnapshot Read(const DeviceKey& device) {
    DeviceSnapshot seen;
    seen.device = device;
    const auto found = nodes_.find(device);
    if (found == nodes_.end()) return seen;
    const Nodes& nodes = found->second;
    seen.exists = true;
    seen.state = ParseXenbusState(nodes.state);
    if (nodes.online == "0" || nodes.online == "1") seen.online = nodes.online == "1";
    seen.frontend_fits = nodes.frontend == FrontendPath(device);
    seen.owner = owners_[device.domid];
    seen.hotplug_status = nodes.status;
    seen.hotplug_error = nodes.error;
    return seen;
  }

  void Step() {
    now_ += absl::Milliseconds(Byte());
    switch (Byte() % 12) {
      case 0: {  // A path of any form: parsed, and looked at if it is a device's.
        const std::string root = BackendRoot(Byte() % 2);
        const std::string path =
            absl::StrCat(Value({"/local/domain/0/backend", "/local/domain/1/backend", ""}), Value({"/", "", "//"}),
                         Value({"vif", "vbd", "qdisk", "console"}), "/", Value({"1", "2", "01", "-1", "32752"}), "/",
                         Value({"0", "1", "2147483648", "0x1"}), Value({"", "/state", "/online", "/a/b", "//"}));
        const BackendPathParts parts = ParseBackendPath(root, path);
        ROMULUS_CHECK(!(parts.holds_devices && parts.device.has_value()));
        if (!parts.device.has_value()) break;
        const std::string again = absl::StrCat(root, "/", FormatDevice(*parts.device));
        ROMULUS_CHECK(path.compare(0, again.size(), again) == 0);
        ROMULUS_CHECK(parts.device->domid <= kDomidMax && parts.device->device_id <= kDeviceIdMax);
        Carry(tracker_->Observe(Read(*parts.device), false, now_));
        break;
      }
      case 1:  // The toolstack makes a device.
      case 2: {
        const DeviceKey device = Device();
        nodes_[device] = {"1", "1", FrontendPath(device), "", ""};
        Look(device);
        break;
      }
      case 3:
      case 4: {  // Somebody writes nodes.
        const DeviceKey device = Device();
        if (nodes_.count(device) == 0) break;
        nodes_[device].state = Value({"0", "1", "2", "3", "4", "5", "6", "6", "7", "8", "9", "", "x"});
        nodes_[device].online = Value({"1", "1", "0", "0", "0", "", "2"});
        if (Byte() % 8 == 0) nodes_[device].frontend = Value({"", "/local/domain/9/device/vif/0"});
        Look(device);
        break;
      }
      case 5: {
        const DeviceKey device = Device();
        nodes_.erase(device);
        Look(device);
        break;
      }
      case 6:
        owners_[1 + Byte() % 2] = static_cast<DeviceOwner>(Byte() % 3);
        break;
      case 7:
      case 8: {  // A script ends; sometimes one that nobody started.
        if (runs_.empty() || Byte() % 16 == 0) {
          Carry(tracker_->ScriptEnded(1'000'000 + Byte(), absl::OkStatus(), Read(Device()), now_));
          break;
        }
        const auto run = std::next(runs_.begin(), Byte() % runs_.size());
        const action::ScriptRun id = run->first;
        const DeviceKey device = run->second;
        runs_.erase(run);
        if (nodes_.count(device) != 0) {
          nodes_[device].status = Value({"connected", "connected", "error", ""});
          nodes_[device].error = Value({"", "no"});
        }
        const absl::Status result = Byte() % 4 == 0 ? absl::InternalError("failed") : absl::OkStatus();
        Carry(tracker_->ScriptEnded(id, result, Read(device), now_));
        break;
      }
      case 9: {
        const uint32_t domid = 1 + Byte() % 2;
        if (Byte() % 2 == 0) {
          Carry(tracker_->QemuStarted(domid, now_));
        } else {
          Carry(tracker_->QemuEnded(domid, Value({"exited with 1"}), now_));
        }
        break;
      }
      case 10:
        if (const auto next = tracker_->next_deadline(); next.has_value()) {
          now_ = std::max(now_, *next);
          Carry(tracker_->Tick(now_));
          // Time that has come is not asked for again: no spinning.
          ROMULUS_CHECK(!tracker_->next_deadline().has_value() || *tracker_->next_deadline() > now_);
        }
        break;
      case 11:  // The listener begins anew.
        if (Byte() % 8 == 0) {
          tracker_ = std::make_unique<BackendTracker>();
          runs_.clear();
          const std::map<DeviceKey, Nodes> present = nodes_;
          for (const auto& [device, nodes] : present) Carry(tracker_->Observe(Read(device), true, now_));
          Carry(tracker_->GuestFound(1 + Byte() % 2, now_));
        }
        break;
    }
  }

  void Look(const DeviceKey& device) { Carry(tracker_->Observe(Read(device), false, now_)); }

  void Carry(const BackendActions& actions) {
    ROMULUS_CHECK(actions.size() < 200);
    std::vector<DeviceKey> removed;
    for (const action::Action& each : actions) {
      std::visit(
          [&](const auto& todo) {
            using Todo = std::decay_t<decltype(todo)>;
            if constexpr (std::is_same_v<Todo, action::RunScript>) {
              ROMULUS_CHECK(todo.device.kind != DeviceKind::kQdisk);
              ROMULUS_CHECK(MayTouch(todo.device));
              for (const auto& [run, device] : runs_) ROMULUS_CHECK(device != todo.device);
              runs_[todo.run] = todo.device;
            } else if constexpr (std::is_same_v<Todo, action::EndScript>) {
              ROMULUS_CHECK(runs_.count(todo.run) == 1);
            } else if constexpr (std::is_same_v<Todo, action::RemovePath>) {
              ROMULUS_CHECK(MayTouch(todo.device) || nodes_.count(todo.device) == 0);
              removed.push_back(todo.device);
            } else if constexpr (std::is_same_v<Todo, action::StartQemu>) {
              ROMULUS_CHECK(owners_.count(todo.domid) == 1);
            } else if constexpr (std::is_same_v<Todo, action::EndQemu>) {
              ending_.insert(todo.domid);
            } else if constexpr (std::is_same_v<Todo, action::Report>) {
              ROMULUS_CHECK(todo.text.size() < 2 * kErrorTextBytesMax);
            }
          },
          each);
    }
    for (const DeviceKey& device : removed) {
      if (nodes_[device].online != "1") nodes_.erase(device);
      Look(device);
    }
  }

  // What the tracker has last been told, which is what it may go by.
  bool MayTouch(const DeviceKey& device) {
    for (const BackendView& view : tracker_->List()) {
      if (view.seen.device == device) return view.seen.owner != DeviceOwner::kOthers && view.seen.frontend_fits;
    }
    return false;
  }

  void Check() {
    ROMULUS_CHECK(tracker_->device_count() <= 18);
    ROMULUS_CHECK(tracker_->guest_count() <= 2 + tracker_->device_count());
    for (const BackendView& view : tracker_->List()) {
      ROMULUS_CHECK(view.attempts <= kBackendAttemptsMax);
      ROMULUS_CHECK(view.outcome_text.size() <= kErrorTextBytesMax);
    }
  }

  // Every device is closed and offline, all scripts and QEMUs end: within bounds nothing is left.
  void TakeDown() {
    owners_[1] = owners_[2] = DeviceOwner::kOurs;
    for (auto& [device, nodes] : nodes_) nodes = {"6", "0", FrontendPath(device), "", ""};
    for (int round = 0; round < 1000; ++round) {
      const std::map<DeviceKey, Nodes> present = nodes_;
      for (const auto& [device, nodes] : present) Look(device);
      for (const BackendView& view : tracker_->List()) {
        // It was never taken up: whose it was takes it down.
        if (view.phase == DevicePhase::kListed) nodes_.erase(view.seen.device);
        Look(view.seen.device);
      }
      const std::map<action::ScriptRun, DeviceKey> running = std::exchange(runs_, {});
      for (const auto& [run, device] : running) {
        Carry(tracker_->ScriptEnded(run, absl::OkStatus(), Read(device), now_));
      }
      for (const uint32_t domid : std::exchange(ending_, {})) Carry(tracker_->QemuEnded(domid, "ended", now_));
      tracker_->CheckInvariants();
      if (tracker_->device_count() == 0 && tracker_->guest_count() == 0) return;
      if (const auto next = tracker_->next_deadline(); next.has_value()) {
        now_ = std::max(now_, *next);
        Carry(tracker_->Tick(now_));
      }
    }
    for (const BackendView& view : tracker_->List()) {
      LogError("left: ", FormatDevice(view.seen.device), " ", DevicePhaseName(view.phase));
    }
    ROMULUS_CHECK(tracker_->device_count() == 0 && tracker_->guest_count() == 0);
  }

  struct Nodes {
    std::string state, online, frontend, status, error;
  };
  const std::string input_;
  size_t at_ = 0;
  absl::Duration now_ = absl::Seconds(1);
  std::unique_ptr<BackendTracker> tracker_ = std::make_unique<BackendTracker>();
  std::map<DeviceKey, Nodes> nodes_;
  std::map<uint32_t, DeviceOwner> owners_ = {{1, DeviceOwner::kOurs}, {2, DeviceOwner::kOurs}};
  std::map<action::ScriptRun, DeviceKey> runs_;
  std::set<uint32_t> ending_;
};

}  // namespace

std::vector<std::string> FuzzSeeds() {
  const auto bytes = [](std::initializer_list<int> list) { return std::string(list.begin(), list.end()); };
  std::vector<std::string> seeds = {
      // A vif is made, waits, is connected, is closed, is disconnected.
      bytes({1, 1, 0, 1, 3, 0, 2, 0, 1, 1, 7, 1, 0, 0, 0, 1, 1, 3, 0, 6, 2, 1, 1, 7, 1, 0, 0, 0, 1}),
      // A qdisk; its QEMU comes, dies, and comes again.
      bytes({1, 1, 2, 1, 9, 0, 0, 1, 9, 0, 1, 0, 1, 10, 1, 9, 0, 0, 1, 3, 2, 6, 2, 1, 1, 5, 2}),
      // A vbd is closed while its script runs, and made anew; the listener begins anew.
      bytes({1, 1, 1, 1, 3, 1, 2, 0, 1, 1, 3, 1, 6, 2, 1, 1, 1, 1, 1, 7, 1, 0, 0, 0, 1, 1, 11, 0, 1, 1, 10}),
      // Whose it is changes.
      bytes({1, 6, 0, 2, 1, 1, 0, 1, 3, 0, 4, 0, 1, 1, 3, 0, 6, 2, 1, 1, 6, 0, 0, 1, 3, 0, 2, 0, 1}),
      // Paths of all forms.
      bytes({1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 0, 0xe1, 3, '/', 'a', '/', 0, 1, 2, 3, 4}),
  };
  // Long ones, in which much happens at once.
  std::mt19937 random(7);
  for (int i = 0; i < 3; ++i) {
    std::string& seed = seeds.emplace_back(600, '\0');
    for (char& byte : seed) byte = static_cast<char>(random() % 0xe4);
  }
  return seeds;
}

}  // namespace romulus

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  romulus::World(std::string(reinterpret_cast<const char*>(data), std::min<size_t>(size, 4096))).Run();
  return 0;
}
