#include "common/link/checkpoint_messages.h"

#include <grpcpp/support/slice.h>

#include <algorithm>
#include <utility>

#include "absl/time/time.h"
#include "common/base/log.h"
#include "common/link/message_bytes.h"
#include "common/link/watch_thread.h"

namespace romulus {
namespace {

// The encoder may hold the beginning of a page back for the next block, which decodes to as much more. Chunks as small
// as that are made only where the secondary takes larger ones (block_format::kRawBytesMaxLeast).
size_t PieceBytes(size_t chunk_bytes, const CheckpointPipeline* pipeline) {
  if (pipeline == nullptr) return chunk_bytes;
  const size_t most = std::min(chunk_bytes, CheckpointEncoder::kPieceBytesMax);
  return most > 2 * block_format::kUnitBytes ? most - block_format::kUnitBytes : most;
}

}  // namespace

CheckpointMessages::CheckpointMessages(Which which, std::shared_ptr<CheckpointReader> reader, size_t chunk_bytes,
                                       CheckpointPipeline* pipeline)
    : which_(which),
      reader_(reader),
      chunk_bytes_(PieceBytes(chunk_bytes, pipeline)),
      pipeline_(pipeline),
      chunker_(which.epoch, std::move(reader), chunk_bytes_, pipeline == nullptr ? kFirstRawBytes : chunk_bytes_) {
  // What can't be read again can't be sent again: then nothing of it may depend on the cache.
  if (pipeline_ != nullptr) pipeline_->Begin(which_.epoch, /*may_refer=*/reader_->in_place());
}

CheckpointMessages::~CheckpointMessages() {
  if (pipeline_ != nullptr) pipeline_->Drop();
}

replication::v1::CheckpointTrailer CheckpointMessages::Trailer() const {
  replication::v1::CheckpointTrailer trailer = chunker_.Trailer();
  trailer.set_attempt(which_.attempt);
  trailer.set_after(which_.after);
  return trailer;
}

absl::StatusOr<CheckpointMessages::Message> CheckpointMessages::TrailerMessage() const {
  replication::v1::PrimaryMessage message;
  message.set_generation(which_.generation);
  *message.mutable_checkpoint_trailer() = Trailer();
  return Message{ToBytes(message), 0, true};
}

grpc::ByteBuffer CheckpointMessages::DataBytes(uint64_t offset, grpc::Slice payload, bool with_trailer) const {
  replication::v1::CheckpointData data;
  data.set_epoch(which_.epoch);
  data.set_offset(offset);
  data.set_attempt(which_.attempt);
  if (with_trailer) *data.mutable_trailer() = Trailer();
  return CheckpointDataToBytes(which_.generation, data, std::move(payload));
}

absl::StatusOr<CheckpointMessages::Message> CheckpointMessages::Next() {
  return pipeline_ == nullptr ? NextRaw() : NextEncoded();
}

absl::StatusOr<CheckpointMessages::Message> CheckpointMessages::NextRaw() {
  const bool in_place = reader_->in_place();
  // What does not lie in memory is read to where gRPC takes it from.
  grpc::Slice buffer(grpc_slice_malloc(in_place ? 0 : chunk_bytes_), grpc::Slice::STEAL_REF);
  const auto piece =
      chunker_.Next(absl::MakeSpan(const_cast<char*>(reinterpret_cast<const char*>(buffer.begin())), buffer.size()));
  if (!piece.ok()) return piece.status();
  if (piece->bytes.empty()) return TrailerMessage();
  const size_t size = piece->bytes.size();
  // If it does not lie in memory, whether anything follows would have to be waited for.
  const bool is_last = which_.trailer_in_data && in_place && chunker_.complete() && reader_->bytes_left() == 0;
  grpc::Slice payload = in_place ? SliceOf(piece->bytes, reader_) : buffer.sub(0, size);
  return Message{DataBytes(piece->offset, std::move(payload), is_last), size, is_last};
}

absl::StatusOr<CheckpointChunker::Piece> CheckpointMessages::NextPiece() {
  absl::Span<char> buffer;
  if (!reader_->in_place()) {
    std::unique_ptr<char[]>& memory = buffers_[next_buffer_++ % buffers_.size()];
    if (memory == nullptr) memory.reset(new char[chunk_bytes_]);
    buffer = absl::MakeSpan(memory.get(), chunk_bytes_);
  }
  return chunker_.Next(buffer);
}

absl::Status CheckpointMessages::FillPipeline() {
  while (!ended_ && !pipeline_->full()) {
    const auto piece = NextPiece();
    if (!piece.ok()) return piece.status();
    // An empty piece comes only after the last one, which says that it is.
    ROMULUS_CHECK(!piece->bytes.empty());
    ended_ = chunker_.complete();
    pipeline_->Put(piece->bytes, ended_);
  }
  // Nothing may follow the last record. A reader that does not lie in memory would have to be waited for: later.
  if (ended_ && !end_seen_ && (reader_->in_place() || pipeline_->empty())) {
    const auto end = NextPiece();
    if (!end.ok()) return end.status();
    end_seen_ = true;
  }
  return absl::OkStatus();
}

absl::StatusOr<CheckpointMessages::Message> CheckpointMessages::NextEncoded() {
  Message message;
  while (message.payload_bytes == 0) {
    const absl::Status filled = FillPipeline();
    if (!filled.ok()) return filled;
    if (pipeline_->empty()) return TrailerMessage();
    const absl::Duration started = LinkNow();
    pipeline_->Next([&](absl::Span<const char> block, uint32_t raw_bytes) {
      waited_for_encoder_ += LinkNow() - started;
      if (block.empty()) return;
      message.payload_bytes = block.size();
      message.is_last = end_seen_ && pipeline_->empty();
      message.bytes = DataBytes(next_offset_, grpc::Slice(block.data(), block.size()), message.is_last);
      next_offset_ += raw_bytes;
    });
  }
  return message;
}

}  // namespace romulus
