#ifndef ROMULUS_SECONDARY_CONTROL_STANDBY_SERVICE_H_
#define ROMULUS_SECONDARY_CONTROL_STANDBY_SERVICE_H_

#include "common/control/request_log.h"
#include "common/loop/scheduler.h"
#include "proto/control/v1/standby_service.grpc.pb.h"
#include "secondary/control/standby_registry.h"

namespace romulus {

// StandbyService: translates calls on gRPC's threads into requests on the loop's, and waits. No policy.
class StandbyService final : public control::v1::StandbyService::Service {
 public:
  // Both outlive the service; the loop must run for as long as calls are open.
  StandbyService(Scheduler* loop, StandbyRegistry* registry);

  grpc::Status GetStandby(grpc::ServerContext* context, const control::v1::GetStandbyRequest* request,
                          control::v1::Standby* response) override;
  grpc::Status ListStandbys(grpc::ServerContext* context, const control::v1::ListStandbysRequest* request,
                            control::v1::ListStandbysResponse* response) override;
  grpc::Status WatchStandbys(grpc::ServerContext* context, const control::v1::WatchStandbysRequest* request,
                             grpc::ServerWriter<control::v1::WatchStandbysResponse>* writer) override;
  grpc::Status ActivateStandby(grpc::ServerContext* context, const control::v1::ActivateStandbyRequest* request,
                               control::v1::Standby* response) override;
  grpc::Status DeleteStandby(grpc::ServerContext* context, const control::v1::DeleteStandbyRequest* request,
                             control::v1::DeleteStandbyResponse* response) override;

 private:
  Scheduler* const loop_;
  StandbyRegistry* const registry_;
  RequestLog requests_;
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_CONTROL_STANDBY_SERVICE_H_
