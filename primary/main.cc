// romulus-primary: the primary agent. The only place where it is put together.

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
#include "primary/agent/primary_agent.h"
#include "primary/agent/readiness.h"
#include "primary/agent/xen_protected_host.h"

ABSL_FLAG(std::string, control_address, "127.0.0.1:7450",
          "host:port on which ProtectionService and HostService are served. Not encrypted and not authenticated: a "
          "loopback or management address.");
ABSL_FLAG(std::string, metrics_address, "127.0.0.1:7460",
          "host:port on which GET /metrics is answered for Prometheus; empty: it is not. Not encrypted and not "
          "authenticated: a loopback or management address.");
ABSL_FLAG(std::string, state_dir, "/var/lib/romulus/primary", "where protections and generations are kept");
ABSL_FLAG(std::string, save_helper, "", "path of romulus-save-helper; default: beside this program");
ABSL_FLAG(
    uint32_t, egress_high_water_percent, 50,
    "from this share of a vif's egress buffer on, output that no checkpoint covers yet brings the next checkpoint "
    "forward; above 100: never, and a guest that sends more than its buffer takes loses packets");
ABSL_FLAG(
    uint32_t, pauses_at_once, 0,
    "guests that may be paused for their checkpoints at the same time; one whose checkpoint is due meanwhile runs "
    "on until it has a turn, at most as long as its own pauses usually take; 0: half as many as dom0 has "
    "processors, at least one");
ABSL_FLAG(
    uint64_t, bandwidth_limit, 0,
    "bytes per second that the checkpoints of all protections together may take of the network, in fair parts; 0: "
    "no limit; settings.bandwidth_limit limits one protection");
ABSL_FLAG(uint32_t, encoding_threads, 0,
          "threads on which the checkpoints of all protections are encoded for the wire, beyond their first 4 MiB; 0: as "
          "many as there are processors, at most 4");
ABSL_FLAG(std::string, epoch_trace, "",
          "file that gets a line per committed checkpoint, in columns that its first line names: the parts of the pause, "
          "commit and output delay in microseconds, pages, bytes; default: none (WatchEpochs gives the same)");

namespace romulus {
namespace {

absl::Status Run() {
  const absl::StatusOr<TerminationSignals> signals = TerminationSignals::Block();
  if (!signals.ok()) return signals.status();
  const absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::New();
  if (!loop.ok()) return loop.status();
  std::string save_helper = absl::GetFlag(FLAGS_save_helper);
  if (save_helper.empty()) {
    save_helper = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "romulus-save-helper";
  }
  const absl::StatusOr<std::unique_ptr<XenProtectedHost>> host = XenProtectedHost::Open(
      loop->get(), {save_helper, absl::GetFlag(FLAGS_egress_high_water_percent), absl::GetFlag(FLAGS_pauses_at_once),
                    absl::GetFlag(FLAGS_bandwidth_limit), absl::GetFlag(FLAGS_encoding_threads)});
  if (!host.ok()) return host.status();
  // It creates no devices, and looks after none.
  const absl::StatusOr<std::unique_ptr<AgentBackends>> backends = AgentBackends::Start(**loop, BackendScope::kNone);
  if (!backends.ok()) return backends.status();
  HostService host_service([] { return ReportHost(control::v1::Host::PRIMARY); },
                           [save_helper] { return CheckProtectionReadiness(save_helper); }, backends->get());
  return RunPrimaryAgent({absl::GetFlag(FLAGS_control_address), absl::GetFlag(FLAGS_state_dir),
                          absl::GetFlag(FLAGS_epoch_trace), absl::GetFlag(FLAGS_metrics_address)},
                         *signals, **loop, **host, host_service);
}

}  // namespace
}  // namespace romulus

int main(int argc, char** argv) {
  romulus::KeepFreedMemory();
  romulus::PrepareGrpc();
  absl::SetProgramUsageMessage("replicates protected Xen guests of this host to secondary agents");
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = romulus::Run();
  if (status.ok()) return EXIT_SUCCESS;
  romulus::LogError("romulus-primary: ", status.message());
  return EXIT_FAILURE;
}
