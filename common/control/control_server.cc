#include "common/control/control_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <mutex>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

// Every open call of the synchronous API has a thread; a flood of callers is refused, not served with threads.
constexpr int kThreadsMax = 256;
constexpr int kRequestBytesMax = 1 << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<ControlServer>> ControlServer::Start(const std::string& address,
                                                                    const std::vector<grpc::Service*>& services) {
  static std::once_flag plugins;
  std::call_once(plugins, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  // Without this, two agents on one port would share its calls between them.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(kRequestBytesMax);
  // One thread waits for calls. gRPC wakes its waiting threads in turn for whatever comes to the process, the link's
  // messages too: each further one costs every checkpoint a switch of threads.
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 1);
  builder.SetResourceQuota(grpc::ResourceQuota("control").SetMaxThreads(kThreadsMax));
  for (grpc::Service* service : services) builder.RegisterService(service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return absl::FailedPreconditionError(absl::StrCat("can't serve on ", address,
                                                      ": is the address this host's, and the port free? "
                                                      "Name another with --control_address"));
  }
  return std::unique_ptr<ControlServer>(new ControlServer(std::move(server), port));
}

ControlServer::~ControlServer() { server_->Shutdown(std::chrono::system_clock::now()); }

}  // namespace romulus
