#include "common/link/message_bytes.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>

#include <string>
#include <utility>

namespace romulus {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;
using replication::v1::CheckpointData;
using replication::v1::PrimaryMessage;

namespace {

// The start of a length-delimited field: https://protobuf.dev/programming-guides/encoding.
void AppendField(int number, uint64_t length, std::string* bytes) {
  google::protobuf::io::StringOutputStream stream(bytes);
  CodedOutputStream coded(&stream);
  coded.WriteTag(WireFormatLite::MakeTag(number, WireFormatLite::WIRETYPE_LENGTH_DELIMITED));
  coded.WriteVarint64(length);
}

}  // namespace

grpc::ByteBuffer ToBytes(const google::protobuf::MessageLite& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

grpc::ByteBuffer CheckpointDataToBytes(uint64_t generation, uint64_t epoch, uint64_t offset, grpc::Slice payload) {
  CheckpointData data;
  data.set_epoch(epoch);
  data.set_offset(offset);
  return CheckpointDataToBytes(generation, data, std::move(payload));
}

grpc::ByteBuffer CheckpointDataToBytes(uint64_t generation, const CheckpointData& data, grpc::Slice payload) {
  std::string before_payload = data.SerializeAsString();
  AppendField(CheckpointData::kPayloadFieldNumber, payload.size(), &before_payload);

  PrimaryMessage message;
  message.set_generation(generation);
  std::string start = message.SerializeAsString();
  AppendField(PrimaryMessage::kCheckpointDataFieldNumber, before_payload.size() + payload.size(), &start);

  const grpc::Slice slices[] = {grpc::Slice(start + before_payload), std::move(payload)};
  return grpc::ByteBuffer(slices, 2);
}

grpc::Slice SliceOf(absl::Span<const char> bytes, std::shared_ptr<CheckpointReader> reader) {
  using Hold = std::shared_ptr<CheckpointReader>;
  // gRPC only reads what lies in a slice.
  return grpc::Slice(
      const_cast<char*>(bytes.data()), bytes.size(), [](void* hold) { delete static_cast<Hold*>(hold); },
      new Hold(std::move(reader)));
}

}  // namespace romulus
