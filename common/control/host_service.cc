#include "common/control/host_service.h"

#include <map>
#include <string>

#include "common/control/grpc_status.h"
#include "common/control/paging.h"
#include "common/control/watch_stream.h"

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

grpc::Status HostService::ListBackends(grpc::ServerContext*, const control::v1::ListBackendsRequest* request,
                                       control::v1::ListBackendsResponse* response) {
  std::vector<control::v1::Backend> backends;
  if (backends_ != nullptr) backends = backends_->List();
  const absl::Status status =
      CutPage(request->page_size(), request->page_token(), backends, *response->mutable_next_page_token());
  if (!status.ok()) return ToGrpcStatus(status);
  for (control::v1::Backend& backend : backends) *response->add_backends() = std::move(backend);
  return grpc::Status::OK;
}

grpc::Status HostService::WatchBackends(grpc::ServerContext* context, const control::v1::WatchBackendsRequest* request,
                                        grpc::ServerWriter<control::v1::WatchBackendsResponse>* writer) {
  const ChangeSignal nothing_changes;
  // Apart from the backends while they are compared: the passing of time is no change.
  std::map<std::string, google::protobuf::Duration> ages;
  ServeWatch<control::v1::Backend>(
      backends_ != nullptr ? backends_->changes() : nothing_changes, WatchPeriod(*request),
      [&] {
        std::vector<control::v1::Backend> backends;
        if (backends_ != nullptr) backends = OnlyNamed(request->name(), backends_->List());
        ages.clear();
        for (control::v1::Backend& backend : backends) {
          ages[backend.name()] = backend.age();
          backend.clear_age();
        }
        return backends;
      },
      [&] { return context->IsCancelled(); },
      [&](control::v1::WatchEvent event, const control::v1::Backend* backend) {
        control::v1::WatchBackendsResponse response;
        response.set_event(event);
        if (backend != nullptr) {
          *response.mutable_backend() = *backend;
          const auto age = ages.find(backend->name());
          if (age != ages.end()) *response.mutable_backend()->mutable_age() = age->second;
        }
        return writer->Write(response);
      });
  return grpc::Status::OK;
}

}  // namespace romulus
