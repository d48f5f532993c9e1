// romulus-secondary: the secondary agent. The only place where it is put together.

#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "common/agent/termination.h"
#include "common/base/grpc_process.h"
#include "common/base/heap.h"
#include "common/base/log.h"
#include "common/control/agent_backends.h"
#include "common/control/host_service.h"
#include "common/loop/event_loop.h"
#include "common/xen/host_report.h"
#include "secondary/agent/secondary_agent.h"
#include "secondary/agent/xen_standby_host.h"
#include "secondary/target/readiness.h"

ABSL_FLAG(std::string, control_address, "127.0.0.1:7451",
          "host:port on which StandbyService and HostService are served. Not encrypted and not authenticated: a "
          "loopback or management address.");
ABSL_FLAG(std::string, replication_address, "0.0.0.0:7452",
          "host:port on which primary agents open sessions. Carries guests' memory in the clear: an address on a "
          "network of its own.");
ABSL_FLAG(std::string, metrics_address, "127.0.0.1:7461",
          "host:port on which GET /metrics is answered for Prometheus; empty: it is not. Not encrypted and not "
          "authenticated: a loopback or management address.");
ABSL_FLAG(std::string, state_dir, "/var/lib/romulus/secondary", "where generations are kept");
ABSL_FLAG(uint64_t, page_cache_bytes_max, uint64_t{256} << 20,
          "memory that one protection may take here for the pages that its checkpoints are encoded against; the "
          "primary's settings.page_cache_bytes, if that is less; 0: none");
ABSL_FLAG(std::string, restore_helper, "", "path of romulus-restore-helper; default: beside this program");

namespace romulus {
namespace {

absl::Status Run() {
  const absl::StatusOr<TerminationSignals> signals = TerminationSignals::Block();
  if (!signals.ok()) return signals.status();
  const absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::New();
  if (!loop.ok()) return loop.status();
  std::string restore_helper = absl::GetFlag(FLAGS_restore_helper);
  if (restore_helper.empty()) {
    restore_helper = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "romulus-restore-helper";
  }
  const absl::StatusOr<std::unique_ptr<XenStandbyHost>> host = XenStandbyHost::Open(loop->get(), restore_helper);
  if (!host.ok()) return host.status();
  const absl::StatusOr<std::unique_ptr<AgentBackends>> backends =
      AgentBackends::Start(**loop, BackendScope::kMarkedDomains);
  if (!backends.ok()) return backends.status();
  HostService host_service([] { return ReportHost(control::v1::Host::SECONDARY); },
                           [restore_helper] { return CheckStandbyReadiness(restore_helper); }, backends->get());
  return RunSecondaryAgent(
      {absl::GetFlag(FLAGS_control_address), absl::GetFlag(FLAGS_replication_address), absl::GetFlag(FLAGS_state_dir),
       absl::GetFlag(FLAGS_metrics_address), absl::GetFlag(FLAGS_page_cache_bytes_max)},
      *signals, **loop, **host, host_service);
}

}  // namespace
}  // namespace romulus

int main(int argc, char** argv) {
  romulus::KeepFreedMemory();
  romulus::PrepareGrpc();
  absl::SetProgramUsageMessage("keeps standbys of other hosts' Xen guests and runs them when their host dies");
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = romulus::Run();
  if (status.ok()) return EXIT_SUCCESS;
  romulus::LogError("romulus-secondary: ", status.message());
  return EXIT_FAILURE;
}
