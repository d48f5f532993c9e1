#ifndef ROMULUS_COMMON_LINK_MESSAGE_BYTES_H_
#define ROMULUS_COMMON_LINK_MESSAGE_BYTES_H_

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstdint>
#include <memory>

#include "absl/types/span.h"
#include "common/stream/checkpoint_reader.h"
#include "proto/replication/v1/replication.pb.h"

namespace romulus {

// Messages as gRPC puts them on the wire, made here so that a checkpoint's bytes are not copied into a message first
// and into its serialized form next.

grpc::ByteBuffer ToBytes(const google::protobuf::MessageLite& message);

// The same bytes as of a PrimaryMessage with this CheckpointData (what parses it can't tell), around `payload`.
// `data`: all but the payload.
grpc::ByteBuffer CheckpointDataToBytes(uint64_t generation, const replication::v1::CheckpointData& data,
                                       grpc::Slice payload);
grpc::ByteBuffer CheckpointDataToBytes(uint64_t generation, uint64_t epoch, uint64_t offset, grpc::Slice payload);

// `bytes`, which lie in the memory of `reader`: it lives until gRPC has let go of the last such slice, on whatever
// thread.
grpc::Slice SliceOf(absl::Span<const char> bytes, std::shared_ptr<CheckpointReader> reader);

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_MESSAGE_BYTES_H_
