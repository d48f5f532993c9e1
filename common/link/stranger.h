#ifndef ROMULUS_COMMON_LINK_STRANGER_H_
#define ROMULUS_COMMON_LINK_STRANGER_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <utility>
#include <vector>

#include "proto/replication/v1/replication.grpc.pb.h"

namespace romulus {

// A secondary that answers each message with what a test says, true or not.
class Stranger final : public replication::v1::ReplicationService::Service {
 public:
  // On a thread of gRPC's.
  using Answers = std::function<std::vector<replication::v1::SecondaryMessage>(const replication::v1::PrimaryMessage&)>;
  explicit Stranger(Answers answers) : answers_(std::move(answers)) {}

  grpc::Status Replicate(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<replication::v1::SecondaryMessage, replication::v1::PrimaryMessage>* stream) override {
    replication::v1::PrimaryMessage message;
    while (stream->Read(&message)) {
      for (const replication::v1::SecondaryMessage& answer : answers_(message)) stream->Write(answer);
    }
    return grpc::Status::OK;
  }

 private:
  const Answers answers_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_STRANGER_H_
