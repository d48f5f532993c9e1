#include "secondary/control/standby_service.h"

#include <utility>
#include <vector>

#include "common/control/call_on_loop.h"
#include "common/control/grpc_status.h"
#include "common/control/paging.h"
#include "common/control/watch_stream.h"

namespace romulus {

using control::v1::Standby;

StandbyService::StandbyService(Scheduler* loop, StandbyRegistry* registry)
    : loop_(loop), registry_(registry), requests_([loop] { return loop->Now(); }) {}

grpc::Status StandbyService::GetStandby(grpc::ServerContext*, const control::v1::GetStandbyRequest* request,
                                        Standby* response) {
  absl::StatusOr<Standby> standby =
      CallOnLoop<absl::StatusOr<Standby>>(*loop_, [&] { return registry_->Get(request->name()); });
  if (!standby.ok()) return ToGrpcStatus(standby.status());
  *response = *std::move(standby);
  return grpc::Status::OK;
}

grpc::Status StandbyService::ListStandbys(grpc::ServerContext*, const control::v1::ListStandbysRequest* request,
                                          control::v1::ListStandbysResponse* response) {
  std::vector<Standby> standbys = CallOnLoop<std::vector<Standby>>(*loop_, [&] { return registry_->List(); });
  if (absl::Status status =
          CutPage(request->page_size(), request->page_token(), standbys, *response->mutable_next_page_token());
      !status.ok()) {
    return ToGrpcStatus(status);
  }
  for (Standby& standby : standbys) *response->add_standbys() = std::move(standby);
  return grpc::Status::OK;
}

grpc::Status StandbyService::WatchStandbys(grpc::ServerContext* context,
                                           const control::v1::WatchStandbysRequest* request,
                                           grpc::ServerWriter<control::v1::WatchStandbysResponse>* writer) {
  if (!request->name().empty()) {
    const absl::StatusOr<Standby> found =
        CallOnLoop<absl::StatusOr<Standby>>(*loop_, [&] { return registry_->Get(request->name()); });
    if (!found.ok()) return ToGrpcStatus(found.status());
  }
  ServeWatch<Standby>(
      registry_->changes(), WatchPeriod(*request),
      [&] {
        return OnlyNamed(request->name(), CallOnLoop<std::vector<Standby>>(*loop_, [&] { return registry_->List(); }));
      },
      [&] { return context->IsCancelled(); },
      [&](control::v1::WatchEvent event, const Standby* standby) {
        control::v1::WatchStandbysResponse response;
        response.set_event(event);
        if (standby != nullptr) *response.mutable_standby() = *standby;
        return writer->Write(response);
      });
  return grpc::Status::OK;
}

grpc::Status StandbyService::ActivateStandby(grpc::ServerContext*, const control::v1::ActivateStandbyRequest* request,
                                             Standby* response) {
  return ToGrpcStatus(
      requests_.Run("ActivateStandby", request->request_id(), *request, *response, [&]() -> absl::Status {
        absl::StatusOr<Standby> answer = CallOnLoopAndWait<absl::StatusOr<Standby>>(
            *loop_, [&](StandbyRegistry::Answer done) { registry_->Activate(*request, std::move(done)); });
        if (!answer.ok()) return answer.status();
        *response = *std::move(answer);
        return absl::OkStatus();
      }));
}

grpc::Status StandbyService::DeleteStandby(grpc::ServerContext*, const control::v1::DeleteStandbyRequest* request,
                                           control::v1::DeleteStandbyResponse* response) {
  return ToGrpcStatus(requests_.Run("DeleteStandby", request->request_id(), *request, *response, [&] {
    return CallOnLoopAndWait<absl::Status>(
        *loop_, [&](StandbyRegistry::Done done) { registry_->Delete(*request, std::move(done)); });
  }));
}

}  // namespace romulus
