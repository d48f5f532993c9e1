#include "secondary/agent/secondary_agent.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <unistd.h>

#include <chrono>
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

absl::StatusOr<std::unique_ptr<grpc::Server>> StartReplicationServer(const std::string& address,
                                                                     const GrpcReplicationService::Options& options,
                                                                     GrpcReplicationService& service) {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  GrpcReplicationService::Configure(options, &builder);
  builder.RegisterService(&service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server != nullptr && port != 0) return server;
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
  absl::StatusOr<std::unique_ptr<grpc::Server>> replication_server =
      StartReplicationServer(options.replication_address, replication_options, replication_service);
  if (!replication_server.ok()) return replication_server.status();
  absl::StatusOr<std::unique_ptr<ControlServer>> control_server =
      ControlServer::Start(options.control_address, {&service, &host_service});
  if (!control_server.ok()) {
    (*replication_server)->Shutdown(std::chrono::system_clock::now());
    return control_server.status();
  }
  std::unique_ptr<MetricsServer> metrics;
  if (!options.metrics_address.empty()) {
    absl::StatusOr<std::unique_ptr<MetricsServer>> started =
        MetricsServer::Start(options.metrics_address, &loop,
                             [&](MetricFamilies& families) { AddStandbyMetrics(registry.List(), families); });
    if (!started.ok()) {
      (*replication_server)->Shutdown(std::chrono::system_clock::now());
      return started.status();
    }
    metrics = *std::move(started);
  }

  LogInfo("secondary agent serves control on ", options.control_address, " and replication on ",
          options.replication_address);
  const bool wound_down = ServeUntilTerminated(
      loop, signals, *std::move(control_server),
      [&](std::function<void()> done) { registry.Shutdown(std::move(done)); }, kWindDownLimit);
  LogInfo("secondary agent has ended");
  // Threads that are still blocked would keep the destructors waiting; what is left is as after a crash: recoverable.
  if (!wound_down) _exit(1);
  (*replication_server)->Shutdown(std::chrono::system_clock::now());
  return absl::OkStatus();
}

}  // namespace romulus
