#include "common/link/grpc_secondary_link.h"

#include <utility>

#include "common/link/secondary_session.h"

namespace romulus {

GrpcSecondaryLink::GrpcSecondaryLink(std::shared_ptr<SecondarySession> session) : session_(std::move(session)) {}

GrpcSecondaryLink::~GrpcSecondaryLink() { session_->Abandon(); }

void GrpcSecondaryLink::Start(Observer* observer) { session_->SetObserver(observer); }

void GrpcSecondaryLink::SetSeedSink(std::shared_ptr<CheckpointSink> sink) { session_->SetSeedSink(std::move(sink)); }

void GrpcSecondaryLink::Send(replication::v1::SecondaryMessage message) { session_->Send(std::move(message)); }

bool GrpcSecondaryLink::SendTraffic(replication::v1::SecondaryMessage message) {
  return session_->SendTraffic(std::move(message));
}

void GrpcSecondaryLink::Close(absl::Status status) { session_->Close(std::move(status)); }

absl::Duration GrpcSecondaryLink::silence() const { return session_->silence(); }

uint64_t GrpcSecondaryLink::received_bytes() const { return session_->received_bytes(); }

}  // namespace romulus
