#include "common/control/host_service.h"

#include "common/control/grpc_status.h"

namespace romulus {

grpc::Status HostService::GetHost(grpc::ServerContext*, const control::v1::GetHostRequest*,
                                  control::v1::Host* response) {
  absl::StatusOr<control::v1::Host> host = describe_();
  if (!host.ok()) return ToGrpcStatus(host.status());
  *response = *std::move(host);
  return grpc::Status::OK;
}

grpc::Status HostService::CheckReadiness(grpc::ServerContext*, const control::v1::CheckReadinessRequest*,
                                         control::v1::CheckReadinessResponse* response) {
  response->set_ready(true);
  for (control::v1::ReadinessCheck& check : inspect_()) {
    if (!check.holds() && !check.optional()) response->set_ready(false);
    *response->add_checks() = std::move(check);
  }
  return grpc::Status::OK;
}

}  // namespace romulus
