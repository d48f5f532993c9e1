#ifndef ROMULUS_PRIMARY_AGENT_PRIMARY_AGENT_H_
#define ROMULUS_PRIMARY_AGENT_PRIMARY_AGENT_H_

#include <string>

#include "absl/status/status.h"
#include "common/agent/termination.h"
#include "common/control/host_service.h"
#include "common/loop/event_loop.h"
#include "primary/control/protected_host.h"

namespace romulus {

struct PrimaryAgentOptions {
  std::string control_address;
  std::string state_directory;
  // File that gets one line per committed checkpoint; empty: none.
  std::string epoch_trace_file;
  // host:port of GET /metrics; empty: not served.
  std::string metrics_address;
};

// The primary agent over any host: recovers what the store knows, serves the control API, and winds down when told to
// end. Returns then, or with the error that kept it from starting. `host_service` and `host` outlive the call.
absl::Status RunPrimaryAgent(const PrimaryAgentOptions& options, const TerminationSignals& signals, EventLoop& loop,
                             ProtectedHost& host, HostService& host_service);

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_AGENT_PRIMARY_AGENT_H_
