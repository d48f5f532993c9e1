#ifndef ROMULUS_SECONDARY_AGENT_SECONDARY_AGENT_H_
#define ROMULUS_SECONDARY_AGENT_SECONDARY_AGENT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "common/agent/termination.h"
#include "common/control/host_service.h"
#include "common/loop/event_loop.h"
#include "secondary/agent/standby_host.h"

namespace romulus {

struct SecondaryAgentOptions {
  std::string control_address;
  std::string replication_address;
  std::string state_directory;
  // host:port of GET /metrics; empty: not served.
  std::string metrics_address;
  // Of a protection's page cache, against which its checkpoints are encoded; 0: none.
  uint64_t page_cache_bytes_max = uint64_t{256} << 20;
};

// The secondary agent over any host: takes sessions, serves the control API, and winds down when told to end. Returns
// then, or with the error that kept it from starting. `host_service` and `host` outlive the call.
absl::Status RunSecondaryAgent(const SecondaryAgentOptions& options, const TerminationSignals& signals, EventLoop& loop,
                               StandbyHost& host, HostService& host_service);

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_AGENT_SECONDARY_AGENT_H_
