#ifndef ROMULUS_COMMON_LINK_RECEIVED_MESSAGE_H_
#define ROMULUS_COMMON_LINK_RECEIVED_MESSAGE_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "proto/replication/v1/replication.pb.h"

namespace romulus {

// A PrimaryMessage as it came over gRPC. A checkpoint's payload stays where gRPC has received it; everything else is
// parsed. Whatever protobuf would take is taken, however it was serialized; what CheckpointDataToBytes makes, fast.
class ReceivedMessage {
 public:
  // False: `bytes` are no PrimaryMessage; then nothing of this object is of use.
  bool Parse(const grpc::ByteBuffer& bytes);

  // Without checkpoint_data.payload.
  replication::v1::PrimaryMessage& message() { return message_; }
  // checkpoint_data.payload, in order, in the pieces in which it lies; valid as long as this object.
  absl::Span<const absl::Span<const char>> payload() const { return payload_; }
  // payload()[piece] stays as it is for as long as what is returned lives. Null: it can't outlive this object.
  std::shared_ptr<const void> Hold(size_t piece) const;

 private:
  // False: not as CheckpointDataToBytes makes it.
  bool ParseCheckpointData(size_t total);

  replication::v1::PrimaryMessage message_;
  std::vector<grpc::Slice> slices_;
  std::string copied_payload_;
  std::vector<absl::Span<const char>> payload_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_RECEIVED_MESSAGE_H_
