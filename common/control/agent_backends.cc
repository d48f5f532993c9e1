#include "common/control/agent_backends.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/control/call_on_loop.h"
#include "common/control/durations.h"
#include "common/devices/netlink_vif_connector.h"

namespace romulus {
namespace {

using control::v1::Backend;

// Phases that differ only in what is waited for are one to a caller.
Backend::Phase PhaseOf(DevicePhase phase) {
  switch (phase) {
    case DevicePhase::kListed:
      return Backend::PHASE_UNSPECIFIED;
    case DevicePhase::kWaiting:
      return Backend::WAITING;
    case DevicePhase::kConnecting:
      return Backend::CONNECTING;
    case DevicePhase::kConnected:
      return Backend::CONNECTED;
    case DevicePhase::kRetrying:
      return Backend::RETRYING;
    case DevicePhase::kGivenUp:
      return Backend::GIVEN_UP;
    case DevicePhase::kLeftToToolstack:
    case DevicePhase::kClosing:
    case DevicePhase::kDisconnecting:
    case DevicePhase::kRemoving:
    case DevicePhase::kAbandoned:
      return Backend::REMOVING;
  }
  return Backend::PHASE_UNSPECIFIED;
}

Backend::ScriptOutcome OutcomeOf(ScriptOutcome outcome) {
  switch (outcome) {
    case ScriptOutcome::kNone:
      return Backend::NONE;
    case ScriptOutcome::kRunning:
      return Backend::RUNNING;
    case ScriptOutcome::kOk:
      return Backend::OK;
    case ScriptOutcome::kFailed:
      return Backend::FAILED;
  }
  return Backend::NONE;
}

// Protocol buffers carry UTF-8 only; xenstore carries anything.
std::string Printable(std::string text) {
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

}  // namespace

control::v1::Backend DescribeBackend(const BackendView& view, absl::Time state_time, absl::Duration age) {
  const DeviceKey& device = view.seen.device;
  Backend backend;
  backend.set_name(absl::StrCat("backends/", BackendKindName(device.kind), "-", device.domid, "-", device.device_id));
  backend.set_kind(BackendKindName(device.kind));
  backend.set_frontend_domain_id(device.domid);
  backend.set_device_id(device.device_id);
  backend.set_state(XenbusStateName(view.seen.state.value_or(XenbusState::kUnknown)));
  *backend.mutable_state_time() = ToProto(state_time);
  *backend.mutable_age() = ToProto(age);
  backend.set_managed(view.phase != DevicePhase::kListed);
  backend.set_phase(PhaseOf(view.phase));
  if (!backend.managed()) return backend;
  backend.set_script_outcome(OutcomeOf(view.outcome));
  backend.set_script_error(Printable(view.outcome_text));
  backend.set_failed_attempts(view.attempts);
  return backend;
}

absl::StatusOr<std::unique_ptr<AgentBackends>> AgentBackends::Start(EventLoop& loop, BackendScope scope) {
  std::unique_ptr<AgentBackends> backends(new AgentBackends(loop));
  backends->clock_start_ = absl::Now() - loop.Now();
  BackendListener::Options options;
  options.scope = scope;
  options.changed = [signal = &backends->changes_] { signal->Notify(); };
  options.lost = [](absl::Status status) { LogError("backends are not looked after any more: ", status.message()); };
  if (scope != BackendScope::kNone) {
    absl::StatusOr<std::unique_ptr<NetlinkVifConnector>> connector = NetlinkVifConnector::Open(/*backend_domid=*/0);
    if (!connector.ok()) return connector.status();
    options.vif_connector = *std::move(connector);
  }
  absl::StatusOr<std::unique_ptr<BackendListener>> listener = BackendListener::Start(loop, std::move(options));
  if (!listener.ok()) return listener.status();
  backends->listener_ = *std::move(listener);
  return backends;
}

std::vector<control::v1::Backend> AgentBackends::List() {
  std::vector<Backend> backends = CallOnLoop<std::vector<Backend>>(loop_, [this] {
    std::vector<Backend> listed;
    for (const BackendView& view : listener_->List()) {
      listed.push_back(DescribeBackend(view, clock_start_ + view.state_since, loop_.Now() - view.state_since));
    }
    return listed;
  });
  std::sort(backends.begin(), backends.end(), [](const Backend& a, const Backend& b) { return a.name() < b.name(); });
  return backends;
}

}  // namespace romulus
