#ifndef ROMULUS_COMMON_CONTROL_HOST_SERVICE_H_
#define ROMULUS_COMMON_CONTROL_HOST_SERVICE_H_

#include <functional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/control/backend_directory.h"
#include "proto/control/v1/host_service.grpc.pb.h"

namespace romulus {

// HostService of either agent. The functions are called on gRPC's threads, several at a time; they only read.
class HostService final : public control::v1::HostService::Service {
 public:
  using Describe = std::function<absl::StatusOr<control::v1::Host>()>;
  using Inspect = std::function<std::vector<control::v1::ReadinessCheck>()>;

  // `backends` outlives it; null: there are none.
  HostService(Describe describe, Inspect inspect, BackendDirectory* backends = nullptr)
      : describe_(std::move(describe)), inspect_(std::move(inspect)), backends_(backends) {}

  grpc::Status GetHost(grpc::ServerContext* context, const control::v1::GetHostRequest* request,
                       control::v1::Host* response) override;
  grpc::Status CheckReadiness(grpc::ServerContext* context, const control::v1::CheckReadinessRequest* request,
                              control::v1::CheckReadinessResponse* response) override;
  grpc::Status ListBackends(grpc::ServerContext* context, const control::v1::ListBackendsRequest* request,
                            control::v1::ListBackendsResponse* response) override;
  grpc::Status WatchBackends(grpc::ServerContext* context, const control::v1::WatchBackendsRequest* request,
                             grpc::ServerWriter<control::v1::WatchBackendsResponse>* writer) override;

 private:
  const Describe describe_;
  const Inspect inspect_;
  BackendDirectory* const backends_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CONTROL_HOST_SERVICE_H_
