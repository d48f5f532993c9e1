#include "secondary/agent/secondary_agent.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <unistd.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/link/grpc_replication_service.h"
#include "common/observe/metrics_server.h"
#include "common/ownership/file_generation_store.h"
#include "secondary/control/standby_metrics.h"
#include "secondary/control/standby_registry.h"
#include "secondary/control/standby_service.h"

namespace romulus {
namespace {

constexpr absl::Duration kWindDownLimit = absl::Seconds(45);

absl::Status StartReplication(const std::string& address, GrpcReplicationService& service) {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  if (service.Start(&builder) && port != 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("can't serve on ", address,
                                                    ": is the address this host's, and the port free? "
                                                    "Name another with --replication_address"));
}

}  // namespace

absl::Status RunSecondaryAgent(const SecondaryAgentOptions& options, const TerminationSignals& signals, EventLoop& loop,
                               StandbyHost& host, HostService& host_service) {
  absl::StatusOr<std::unique_ptr<FileGenerationStore>> store = FileGenerationStore::Open(options.state_directory);
  if (!store.ok()) return store.status();
  const absl::StatusOr<std::vector<std::string>> known = (*store)->List();
  if (!known.ok()) return known.status();
  GrpcReplicationService::Options replication_options;
  replication_options.page_cache_bytes_max = options.page_cache_bytes_max;

  StandbyDriver::Seams seams;
  seams.scheduler = &loop;
  seams.store = store->get();
  seams.new_target = [&host] { return host.NewTarget(); };
  seams.new_traffic = [&host](const replication::v1::OpenSession& session, uint32_t domid) {
    return host.NewTraffic(session, domid);
  };
  absl::StatusOr<replication::v1::HostCompatibility> compatibility = host.Compatibility();
  if (!compatibility.ok()) return compatibility.status();
  seams.host = *std::move(compatibility);
  seams.chunk_bytes_max = replication_options.chunk_bytes_max;
  // Before any session can make a standby of its own.
  host.RemoveLeftovers();

  StandbyRegistry registry(std::move(seams), [&host](const replication::v1::OpenSession& open_session) {
    return host.CheckSession(open_session);
  });
  for (const std::string& protection : *known) registry.Recover(protection);
  StandbyService service(&loop, &registry);
  GrpcReplicationService replication_service(&loop, &registry, replication_options);
  const absl::Status started = StartReplication(options.replication_address, replication_service);
  if (!started.ok()) return started;
  absl::StatusOr<std::unique_ptr<ControlServer>> control_server =
      ControlServer::Start(options.control_address, {&service, &host_service});
  if (!control_server.ok()) return control_server.status();
  std::unique_ptr<MetricsServer> metrics;
  if (!options.metrics_address.empty()) {
    absl::StatusOr<std::unique_ptr<MetricsServer>> server =
        MetricsServer::Start(options.metrics_address, &loop,
                             [&](MetricFamilies& families) { AddStandbyMetrics(registry.List(), families); });
    if (!server.ok()) return server.status();
    metrics = *std::move(server);
  }

  LogInfo("secondary agent serves control on ", options.control_address, " and replication on ",
          options.replication_address);
  const bool wound_down = ServeUntilTerminated(
      loop, signals, *std::move(control_server),
      [&](std::function<void()> done) { registry.Shutdown(std::move(done)); }, kWindDownLimit);
  LogInfo("secondary agent has ended");
  // Threads that are still blocked would keep the destructors waiting; what is left is as after a crash: recoverable.
  if (!wound_down) _exit(1);
  return absl::OkStatus();
}

}  // namespace romulus
