#ifndef ROMULUS_PRIMARY_CONTROL_PROTECTION_SERVICE_H_
#define ROMULUS_PRIMARY_CONTROL_PROTECTION_SERVICE_H_

#include "common/control/request_log.h"
#include "common/loop/scheduler.h"
#include "primary/control/protection_registry.h"
#include "proto/control/v1/protection_service.grpc.pb.h"

namespace romulus {

// ProtectionService: translates calls on gRPC's threads into requests on the loop's, and waits. No policy.
class ProtectionService final : public control::v1::ProtectionService::Service {
 public:
  // Both outlive the service; the loop must run for as long as calls are open.
  ProtectionService(Scheduler* loop, ProtectionRegistry* registry);

  grpc::Status CreateProtection(grpc::ServerContext* context, const control::v1::CreateProtectionRequest* request,
                                control::v1::Protection* response) override;
  grpc::Status GetProtection(grpc::ServerContext* context, const control::v1::GetProtectionRequest* request,
                             control::v1::Protection* response) override;
  grpc::Status ListProtections(grpc::ServerContext* context, const control::v1::ListProtectionsRequest* request,
                               control::v1::ListProtectionsResponse* response) override;
  grpc::Status UpdateProtection(grpc::ServerContext* context, const control::v1::UpdateProtectionRequest* request,
                                control::v1::Protection* response) override;
  grpc::Status DeleteProtection(grpc::ServerContext* context, const control::v1::DeleteProtectionRequest* request,
                                control::v1::DeleteProtectionResponse* response) override;
  grpc::Status FenceProtection(grpc::ServerContext* context, const control::v1::FenceProtectionRequest* request,
                               control::v1::Protection* response) override;
  grpc::Status WatchProtections(grpc::ServerContext* context, const control::v1::WatchProtectionsRequest* request,
                                grpc::ServerWriter<control::v1::WatchProtectionsResponse>* writer) override;
  grpc::Status WatchEpochs(grpc::ServerContext* context, const control::v1::WatchEpochsRequest* request,
                           grpc::ServerWriter<control::v1::WatchEpochsResponse>* writer) override;

 private:
  Scheduler* const loop_;
  ProtectionRegistry* const registry_;
  RequestLog requests_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CONTROL_PROTECTION_SERVICE_H_
