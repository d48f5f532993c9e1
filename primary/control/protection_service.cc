#include "primary/control/protection_service.h"

#include <utility>

#include "common/control/call_on_loop.h"
#include "common/control/grpc_status.h"
#include "common/control/paging.h"
#include "common/control/watch_stream.h"

namespace romulus {
namespace {

using control::v1::Protection;

// How long a watcher that has gone away may keep its thread.
constexpr absl::Duration kCancellationPoll = absl::Milliseconds(200);
// Of epochs on their way to a reader: to send a few together costs the host hardly more than to send one.
constexpr absl::Duration kEpochsGather = absl::Milliseconds(500);

using Request = std::function<void(ProtectionRegistry::Answer)>;

// Runs a request that is answered with a protection.
absl::Status Await(Scheduler& loop, Request request, Protection& response) {
  absl::StatusOr<Protection> answer = CallOnLoopAndWait<absl::StatusOr<Protection>>(
      loop, [&request](ProtectionRegistry::Answer done) { request(std::move(done)); });
  if (!answer.ok()) return answer.status();
  response = *std::move(answer);
  return absl::OkStatus();
}

}  // namespace

ProtectionService::ProtectionService(Scheduler* loop, ProtectionRegistry* registry)
    : loop_(loop), registry_(registry), requests_([loop] { return loop->Now(); }) {}

grpc::Status ProtectionService::CreateProtection(grpc::ServerContext*,
                                                 const control::v1::CreateProtectionRequest* request,
                                                 Protection* response) {
  return ToGrpcStatus(requests_.Run("CreateProtection", request->request_id(), *request, *response, [&] {
    return Await(
        *loop_, [&](ProtectionRegistry::Answer done) { registry_->Create(*request, std::move(done)); }, *response);
  }));
}

grpc::Status ProtectionService::GetProtection(grpc::ServerContext*, const control::v1::GetProtectionRequest* request,
                                              Protection* response) {
  absl::StatusOr<Protection> protection =
      CallOnLoop<absl::StatusOr<Protection>>(*loop_, [&] { return registry_->Get(request->name()); });
  if (!protection.ok()) return ToGrpcStatus(protection.status());
  *response = *std::move(protection);
  return grpc::Status::OK;
}

grpc::Status ProtectionService::ListProtections(grpc::ServerContext*,
                                                const control::v1::ListProtectionsRequest* request,
                                                control::v1::ListProtectionsResponse* response) {
  std::vector<Protection> protections = CallOnLoop<std::vector<Protection>>(*loop_, [&] { return registry_->List(); });
  if (absl::Status status =
          CutPage(request->page_size(), request->page_token(), protections, *response->mutable_next_page_token());
      !status.ok()) {
    return ToGrpcStatus(status);
  }
  for (Protection& protection : protections) *response->add_protections() = std::move(protection);
  return grpc::Status::OK;
}

grpc::Status ProtectionService::UpdateProtection(grpc::ServerContext*,
                                                 const control::v1::UpdateProtectionRequest* request,
                                                 Protection* response) {
  return ToGrpcStatus(requests_.Run("UpdateProtection", request->request_id(), *request, *response, [&] {
    return Await(
        *loop_, [&](ProtectionRegistry::Answer done) { registry_->Update(*request, std::move(done)); }, *response);
  }));
}

grpc::Status ProtectionService::DeleteProtection(grpc::ServerContext*,
                                                 const control::v1::DeleteProtectionRequest* request,
                                                 control::v1::DeleteProtectionResponse* response) {
  return ToGrpcStatus(requests_.Run("DeleteProtection", request->request_id(), *request, *response, [&] {
    return CallOnLoopAndWait<absl::Status>(
        *loop_, [&](std::function<void(absl::Status)> done) { registry_->Delete(*request, std::move(done)); });
  }));
}

grpc::Status ProtectionService::FenceProtection(grpc::ServerContext*,
                                                const control::v1::FenceProtectionRequest* request,
                                                Protection* response) {
  return ToGrpcStatus(requests_.Run("FenceProtection", request->request_id(), *request, *response, [&] {
    return Await(
        *loop_, [&](ProtectionRegistry::Answer done) { registry_->Fence(*request, std::move(done)); }, *response);
  }));
}

grpc::Status ProtectionService::WatchProtections(grpc::ServerContext* context,
                                                 const control::v1::WatchProtectionsRequest* request,
                                                 grpc::ServerWriter<control::v1::WatchProtectionsResponse>* writer) {
  if (!request->name().empty()) {
    const absl::StatusOr<Protection> found =
        CallOnLoop<absl::StatusOr<Protection>>(*loop_, [&] { return registry_->Get(request->name()); });
    if (!found.ok()) return ToGrpcStatus(found.status());
  }
  ServeWatch<Protection>(
      registry_->changes(), WatchPeriod(*request),
      [&] {
        return OnlyNamed(request->name(),
                         CallOnLoop<std::vector<Protection>>(*loop_, [&] { return registry_->List(); }));
      },
      [&] { return context->IsCancelled(); },
      [&](control::v1::WatchEvent event, const Protection* protection) {
        control::v1::WatchProtectionsResponse response;
        response.set_event(event);
        if (protection != nullptr) *response.mutable_protection() = *protection;
        return writer->Write(response);
      });
  return grpc::Status::OK;
}

grpc::Status ProtectionService::WatchEpochs(grpc::ServerContext* context,
                                            const control::v1::WatchEpochsRequest* request,
                                            grpc::ServerWriter<control::v1::WatchEpochsResponse>* writer) {
  using Subscription = absl::StatusOr<std::shared_ptr<EpochFeed::Reader>>;
  const Subscription reader = CallOnLoop<Subscription>(*loop_, [&] { return registry_->WatchEpochs(request->name()); });
  if (!reader.ok()) return ToGrpcStatus(reader.status());
  while (!context->IsCancelled() && !(*reader)->over()) {
    std::optional<control::v1::WatchEpochsResponse> epoch = (*reader)->Next(kCancellationPoll);
    if (!epoch.has_value()) continue;
    while (epoch.has_value()) {
      std::optional<control::v1::WatchEpochsResponse> next = (*reader)->Next(absl::ZeroDuration());
      grpc::WriteOptions options;
      if (next.has_value()) options.set_buffer_hint();
      if (!writer->Write(*epoch, options)) return grpc::Status::OK;
      epoch = std::move(next);
    }
    (*reader)->Gather(kEpochsGather);
  }
  return grpc::Status::OK;
}

}  // namespace romulus
