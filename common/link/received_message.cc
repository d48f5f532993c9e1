#include "common/link/received_message.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <string.h>

#include <algorithm>
#include <utility>

#include "absl/strings/string_view.h"

namespace romulus {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using replication::v1::CheckpointData;
using replication::v1::PrimaryMessage;

namespace {

// Tags and numbers before a payload: at most 6 fields of up to 11 bytes, and a trailer of 5 such.
constexpr size_t kStartBytes = 128;

// The field's number and type come next.
bool TakeTag(CodedInputStream& in, int field, WireFormatLite::WireType type) {
  return in.ReadTag() == WireFormatLite::MakeTag(field, type);
}

// The field that comes next is the rest of `total` bytes.
bool TakeRest(CodedInputStream& in, size_t total) {
  uint32_t length = 0;
  return in.ReadVarint32(&length) && in.CurrentPosition() + size_t{length} == total;
}

}  // namespace

bool ReceivedMessage::Parse(const grpc::ByteBuffer& bytes) {
  message_.Clear();
  slices_.clear();
  payload_.clear();
  if (!bytes.Dump(&slices_).ok()) return false;
  if (ParseCheckpointData(bytes.Length())) return true;
  message_.Clear();
  grpc::ByteBuffer same = bytes;  // Deserialize takes it apart.
  if (!grpc::SerializationTraits<PrimaryMessage>::Deserialize(&same, &message_).ok()) return false;
  slices_.clear();
  if (!message_.has_checkpoint_data()) return true;
  copied_payload_ = std::move(*message_.mutable_checkpoint_data()->mutable_payload());
  message_.mutable_checkpoint_data()->clear_payload();
  if (!copied_payload_.empty()) payload_.push_back(copied_payload_);
  return true;
}

std::shared_ptr<const void> ReceivedMessage::Hold(size_t piece) const {
  if (slices_.empty()) return nullptr;  // It was copied.
  return std::make_shared<const grpc::Slice>(slices_[slices_.size() - payload_.size() + piece]);
}

bool ReceivedMessage::ParseCheckpointData(size_t total) {
  char start[kStartBytes];
  size_t filled = 0;
  for (const grpc::Slice& slice : slices_) {
    const size_t count = std::min(slice.size(), kStartBytes - filled);
    if (count > 0) memcpy(start + filled, slice.begin(), count);
    filled += count;
  }
  CodedInputStream in(reinterpret_cast<const uint8_t*>(start), static_cast<int>(filled));
  uint64_t generation = 0;
  uint64_t epoch = 0;
  uint64_t offset = 0;
  if (!TakeTag(in, PrimaryMessage::kGenerationFieldNumber, WireFormatLite::WIRETYPE_VARINT) ||
      !in.ReadVarint64(&generation) ||
      !TakeTag(in, PrimaryMessage::kCheckpointDataFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED) ||
      !TakeRest(in, total) || !TakeTag(in, CheckpointData::kEpochFieldNumber, WireFormatLite::WIRETYPE_VARINT) ||
      !in.ReadVarint64(&epoch)) {
    return false;
  }
  uint32_t tag = in.ReadTag();
  if (tag == WireFormatLite::MakeTag(CheckpointData::kOffsetFieldNumber, WireFormatLite::WIRETYPE_VARINT)) {
    if (!in.ReadVarint64(&offset)) return false;
    tag = in.ReadTag();
  }
  if (tag == WireFormatLite::MakeTag(CheckpointData::kTrailerFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED)) {
    uint32_t length = 0;
    if (!in.ReadVarint32(&length)) return false;
    // Whole only if it can be skipped, too.
    const absl::string_view bytes = absl::string_view(start, filled).substr(in.CurrentPosition(), length);
    if (!message_.mutable_checkpoint_data()->mutable_trailer()->ParseFromArray(bytes.data(),
                                                                               static_cast<int>(bytes.size())) ||
        !in.Skip(static_cast<int>(length))) {
      return false;
    }
    tag = in.ReadTag();
  }
  if (tag != WireFormatLite::MakeTag(CheckpointData::kPayloadFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED) ||
      !TakeRest(in, total)) {
    return false;
  }
  message_.set_generation(generation);
  message_.mutable_checkpoint_data()->set_epoch(epoch);
  message_.mutable_checkpoint_data()->set_offset(offset);
  size_t skip = in.CurrentPosition();
  for (const grpc::Slice& slice : slices_) {
    const size_t skipped = std::min(skip, slice.size());
    skip -= skipped;
    if (skipped == slice.size()) continue;
    payload_.push_back(
        absl::MakeConstSpan(reinterpret_cast<const char*>(slice.begin()) + skipped, slice.size() - skipped));
  }
  return true;
}

}  // namespace romulus
