#include "common/link/grpc_primary_link.h"

#include <utility>

#include "common/base/log.h"
#include "common/link/primary_session.h"

namespace romulus {

GrpcPrimaryLink::GrpcPrimaryLink(Scheduler* scheduler, Options options)
    : scheduler_(scheduler), options_(std::move(options)) {}

GrpcPrimaryLink::~GrpcPrimaryLink() {
  if (session_ != nullptr) session_->Abandon();
}

void GrpcPrimaryLink::Open(uint64_t generation, const replication::v1::OpenSession& open_session, Observer* observer) {
  ROMULUS_CHECK(session_ == nullptr);
  session_ = std::make_shared<PrimarySession>(scheduler_, options_, generation, observer);
  session_->Start(open_session);
}

void GrpcPrimaryLink::SendCheckpoint(uint64_t epoch, std::shared_ptr<CheckpointReader> reader, bool tell_when_sent,
                                     replication::v1::AfterCheckpoint after) {
  ROMULUS_CHECK(session_ != nullptr);
  session_->SendCheckpoint(epoch, std::move(reader), tell_when_sent, after);
}

bool GrpcPrimaryLink::SendTraffic(replication::v1::PrimaryMessage message) {
  ROMULUS_CHECK(session_ != nullptr);
  return session_->SendTraffic(std::move(message));
}

void GrpcPrimaryLink::Send(replication::v1::PrimaryMessage message) {
  ROMULUS_CHECK(session_ != nullptr);
  session_->Send(std::move(message));
}

void GrpcPrimaryLink::Close() {
  ROMULUS_CHECK(session_ != nullptr);
  session_->Close();
}

uint64_t GrpcPrimaryLink::sent_bytes() const { return session_ == nullptr ? 0 : session_->sent_bytes(); }

LinkEncoding GrpcPrimaryLink::encoding() const { return session_ == nullptr ? LinkEncoding{} : session_->encoding(); }

}  // namespace romulus
