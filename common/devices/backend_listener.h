#ifndef ROMULUS_COMMON_DEVICES_BACKEND_LISTENER_H_
#define ROMULUS_COMMON_DEVICES_BACKEND_LISTENER_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/devices/backend_store.h"
#include "common/devices/backend_tracker.h"
#include "common/devices/qdisk_processes.h"
#include "common/devices/running_scripts.h"
#include "common/devices/script_runner.h"
#include "common/loop/event_loop.h"
#include "common/process/rate_limiter.h"
#include "common/xen/xenstore.h"

namespace romulus {

// Connects interfaces without their script, where the script would do no more. On the loop's thread; must not block for
// longer than a netlink round trip.
class VifConnector {
 public:
  virtual ~VifConnector() = default;
  // Whether it can do what the script would.
  virtual bool Serves(const DeviceKey& vif, const HotplugNodes& nodes) = 0;
  // NOT_FOUND: the interface is not there yet. Everything else is final.
  virtual absl::Status Connect(const DeviceKey& vif) = 0;
};

// Watches this domain's backends and connects and takes down those in its scope, as `xl devd` does for a driver domain
// (BackendTracker has the rules). Everything happens on the loop's thread, in steps of a few xenstore round trips;
// scripts and QEMUs run beside it and outlive it. What it does goes to the log, a line per transition:
//     backend vif/7/0: connected: its script has ended well
class BackendListener final : private QdiskProcesses::Observer {
 public:
  struct Options {
    BackendScope scope = BackendScope::kNone;
    // For qdisks; it must know the machine xenpv.
    std::string qemu = "/usr/libexec/xen-qemu-system-i386";  // Of Debian's qemu-system-xen.
    std::string qemu_log_directory = "/var/log/xen";
    absl::Duration script_timeout = absl::Seconds(40);  // LIBXL_HOTPLUG_TIMEOUT
    size_t scripts_at_once = 8;
    BackendTimes times;
    std::unique_ptr<VifConnector> vif_connector;  // May be null.
    // Whenever List() has changed but for the passing of time.
    std::function<void()> changed;
    // Once, when the connection to xenstored is lost: nothing works any more.
    std::function<void(absl::Status)> lost;
  };

  // Looks at what is there before it returns; works once the loop runs. FAILED_PRECONDITION: no xenstored, or not a
  // domain for the scope. `loop` outlives it.
  static absl::StatusOr<std::unique_ptr<BackendListener>> Start(EventLoop& loop, Options options);
  // Devices stay as they are.
  ~BackendListener() override;

  // In the order of their keys; times are on the loop's clock.
  std::vector<BackendView> List() const { return tracker_.List(); }
  uint32_t self() const { return backends_->self(); }

  // Scripts that run: to be waited for before ending, where there is time.
  size_t running_scripts() const { return scripts_.running(); }
  // From here on nothing new is begun.
  void Stop();

 private:
  BackendListener(EventLoop& loop, Options options, std::unique_ptr<Xenstore> store,
                  std::unique_ptr<BackendStore> backends);
  absl::Status LookAround();
  void OnChanged(const std::string& path);
  void LookLater();
  void LookOnce();
  absl::Status Scan(const std::string& path);
  void ObserveNow(const DeviceKey& device, bool at_start);
  void Carry(BackendActions actions);
  void SetTimer();
  void RunScript(const backend_action::RunScript& action);
  void ConnectInterface(backend_action::ScriptRun run, const DeviceKey& device, absl::Duration until);
  void ScriptEnded(backend_action::ScriptRun run, const DeviceKey& device, const absl::Status& result);
  void EndScript(const backend_action::EndScript& action);
  void RememberLoop(const DeviceKey& device);
  void ReleaseLoop(const DeviceKey& device);
  void Lost(const absl::Status& status);
  void Log(const backend_action::Report& report);
  void Problem(const absl::Status& status);
  void OnQemuStarted(uint32_t domid) override;
  void OnQemuEnded(uint32_t domid, const std::string& how) override;

  EventLoop& loop_;
  const Options options_;
  const std::unique_ptr<Xenstore> store_;
  const std::unique_ptr<BackendStore> backends_;
  ScriptRunner scripts_;
  QdiskProcesses qemus_;
  BackendTracker tracker_;
  bool stopped_ = false;
  bool lost_ = false;
  // To be looked at, one per turn of the loop.
  std::set<DeviceKey> touched_;
  std::set<std::string> to_scan_;
  Scheduler::TimerId look_timer_ = Scheduler::kNoTimer;
  Scheduler::TimerId deadline_timer_ = Scheduler::kNoTimer;
  struct Run {
    ScriptRunner::Id script = 0;                     // 0: without a script.
    Scheduler::TimerId timer = Scheduler::kNoTimer;  // Of one without.
    DeviceKey device;
    bool online = true;
  };
  std::map<backend_action::ScriptRun, Run> runs_;
  // Of vbds whose script has not yet given them back: where xl takes a device's nodes away, which it does 10 s after it
  // has asked for its removal, the script knows no more what to give back.
  std::map<DeviceKey, LoopUse> loops_;
  std::map<DeviceKey, RunningScript> left_running_;  // By an earlier listener.
  RateLimiter log_limit_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_BACKEND_LISTENER_H_
