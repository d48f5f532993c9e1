#include "primary/agent/primary_agent.h"

#include <unistd.h>

#include <fstream>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/observe/metrics_server.h"
#include "common/ownership/file_generation_store.h"
#include "primary/control/protection_metrics.h"
#include "primary/control/protection_registry.h"
#include "primary/control/protection_service.h"

namespace romulus {
namespace {

// Longer than any link timeout that makes sense with a service manager that waits a minute.
constexpr absl::Duration kWindDownLimit = absl::Seconds(45);

}  // namespace

absl::Status RunPrimaryAgent(const PrimaryAgentOptions& options, const TerminationSignals& signals, EventLoop& loop,
                             ProtectedHost& host, HostService& host_service) {
  absl::StatusOr<std::unique_ptr<FileGenerationStore>> store = FileGenerationStore::Open(options.state_directory);
  if (!store.ok()) return store.status();
  const absl::StatusOr<std::vector<std::string>> known = (*store)->List();
  if (!known.ok()) return known.status();

  std::ofstream epoch_trace;
  if (!options.epoch_trace_file.empty()) {
    epoch_trace.open(options.epoch_trace_file, std::ios::app);
    if (!epoch_trace) {
      return absl::FailedPreconditionError(
          absl::StrCat("can't write the epoch trace to ", options.epoch_trace_file, ": name another file"));
    }
  }
  ProtectionRegistry registry(&loop, store->get(), &host, epoch_trace.is_open() ? &epoch_trace : nullptr);
  ProtectionService service(&loop, &registry);
  absl::StatusOr<std::unique_ptr<ControlServer>> server =
      ControlServer::Start(options.control_address, {&service, &host_service});
  if (!server.ok()) return server.status();
  std::unique_ptr<MetricsServer> metrics;
  if (!options.metrics_address.empty()) {
    absl::StatusOr<std::unique_ptr<MetricsServer>> started =
        MetricsServer::Start(options.metrics_address, &loop,
                             [&](MetricFamilies& families) { AddProtectionMetrics(registry.List(), families); });
    if (!started.ok()) return started.status();
    metrics = *std::move(started);
  }

  loop.Post([&] {
    std::set<std::string> living;
    for (const std::string& protection : *known) {
      if (registry.Recover(protection)) living.insert(protection);
    }
    host.RemoveLeftovers(living);
  });
  LogInfo("primary agent serves on ", options.control_address);
  const bool wound_down = ServeUntilTerminated(
      loop, signals, *std::move(server), [&](std::function<void()> done) { registry.Shutdown(std::move(done)); },
      kWindDownLimit);
  LogInfo("primary agent has ended");
  // Threads that are still blocked would keep the destructors waiting; what is left is as after a crash: recoverable.
  if (!wound_down) _exit(1);
  return absl::OkStatus();
}

}  // namespace romulus
