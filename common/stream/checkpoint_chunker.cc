#include "common/stream/checkpoint_chunker.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus {

CheckpointChunker::CheckpointChunker(uint64_t epoch, std::shared_ptr<CheckpointReader> reader, size_t chunk_bytes,
                                     size_t first_chunk_bytes)
    : epoch_(epoch),
      reader_(std::move(reader)),
      chunk_bytes_(chunk_bytes),
      first_chunk_bytes_(std::min(first_chunk_bytes, chunk_bytes)),
      scanner_(epoch == 1 ? RecordScanner::Checkpoint::kFirst : RecordScanner::Checkpoint::kLater) {
  ROMULUS_CHECK(epoch >= 1 && chunk_bytes >= 1 && first_chunk_bytes >= 1);
}

absl::StatusOr<absl::Span<const char>> CheckpointChunker::Read(absl::Span<char> buffer) {
  if (reader_->in_place()) {
    const bool first_of_several = scanner_.offset() == 0 && reader_->bytes_left() > chunk_bytes_;
    return reader_->ReadInPlace(first_of_several ? first_chunk_bytes_ : chunk_bytes_);
  }
  ROMULUS_CHECK(buffer.size() >= chunk_bytes_);
  size_t filled = 0;
  while (filled < chunk_bytes_) {
    const absl::StatusOr<size_t> got = reader_->Read(buffer.subspan(filled, chunk_bytes_ - filled));
    if (!got.ok()) return got.status();
    if (*got == 0) break;
    filled += *got;
  }
  return absl::MakeConstSpan(buffer.data(), filled);
}

absl::StatusOr<CheckpointChunker::Piece> CheckpointChunker::Next(absl::Span<char> buffer) {
  const uint64_t offset = scanner_.offset();
  const absl::StatusOr<absl::Span<const char>> bytes = Read(buffer);
  if (!bytes.ok()) return bytes.status();
  const absl::Status scanned = scanner_.Feed(*bytes);
  if (!scanned.ok()) {
    malformed_ = true;
    return absl::InternalError(absl::StrCat("checkpoint ", epoch_, " as captured on this host: ", scanned.message()));
  }
  digest_.Add(*bytes);
  if (bytes->empty() && !scanner_.complete()) {
    malformed_ = true;
    return absl::InternalError(absl::StrCat("checkpoint ", epoch_, " as captured on this host ends at byte ", offset,
                                            " without a CHECKPOINT record"));
  }
  return Piece{offset, *bytes};
}

replication::v1::CheckpointTrailer CheckpointChunker::Trailer() const {
  ROMULUS_CHECK(scanner_.complete());
  replication::v1::CheckpointTrailer trailer;
  trailer.set_epoch(epoch_);
  trailer.set_length(scanner_.offset());
  trailer.set_page_count(scanner_.page_count());
  trailer.set_digest_xxh3(digest_.value());
  return trailer;
}

absl::StatusOr<CheckpointChunker::Step> CheckpointChunker::NextMessage(replication::v1::PrimaryMessage* message) {
  std::string buffer(reader_->in_place() ? 0 : chunk_bytes_, '\0');
  const absl::StatusOr<Piece> piece = Next(absl::MakeSpan(&buffer[0], buffer.size()));
  if (!piece.ok()) return piece.status();
  if (piece->bytes.empty()) {
    *message->mutable_checkpoint_trailer() = Trailer();
    return Step::kTrailer;
  }
  replication::v1::CheckpointData& data = *message->mutable_checkpoint_data();
  data.set_epoch(epoch_);
  data.set_offset(piece->offset);
  data.set_payload(piece->bytes.data(), piece->bytes.size());
  return Step::kData;
}

}  // namespace romulus
