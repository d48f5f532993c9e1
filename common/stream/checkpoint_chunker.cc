#include "common/stream/checkpoint_chunker.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus {

CheckpointChunker::CheckpointChunker(uint64_t epoch, std::shared_ptr<CheckpointReader> reader, size_t chunk_bytes,
                                     std::string* spare)
    : epoch_(epoch),
      reader_(std::move(reader)),
      chunk_bytes_(chunk_bytes),
      spare_(spare),
      scanner_(epoch == 1 ? RecordScanner::Checkpoint::kFirst : RecordScanner::Checkpoint::kLater) {
  ROMULUS_CHECK(epoch >= 1 && chunk_bytes >= 1);
}

absl::StatusOr<CheckpointChunker::Step> CheckpointChunker::Next(replication::v1::PrimaryMessage* message) {
  const uint64_t offset = scanner_.offset();
  std::string* payload = message->mutable_checkpoint_data()->mutable_payload();
  if (spare_ != nullptr && payload->capacity() < spare_->capacity()) payload->swap(*spare_);
  payload->resize(chunk_bytes_);
  size_t filled = 0;
  while (filled < chunk_bytes_) {
    const absl::StatusOr<size_t> got = reader_->Read(absl::MakeSpan(&(*payload)[filled], chunk_bytes_ - filled));
    if (!got.ok()) return got.status();
    if (*got == 0) break;
    filled += *got;
  }
  payload->resize(filled);
  const absl::Status scanned = scanner_.Feed(*payload);
  if (!scanned.ok()) {
    malformed_ = true;
    return absl::InternalError(absl::StrCat("checkpoint ", epoch_, " as captured on this host: ", scanned.message()));
  }
  digest_.Add(*payload);
  if (filled > 0) {
    message->mutable_checkpoint_data()->set_epoch(epoch_);
    message->mutable_checkpoint_data()->set_offset(offset);
    return Step::kData;
  }
  if (spare_ != nullptr) spare_->swap(*payload);
  if (!scanner_.complete()) {
    malformed_ = true;
    return absl::InternalError(absl::StrCat("checkpoint ", epoch_, " as captured on this host ends at byte ", offset,
                                            " without a CHECKPOINT record"));
  }
  replication::v1::CheckpointTrailer* trailer = message->mutable_checkpoint_trailer();
  trailer->set_epoch(epoch_);
  trailer->set_length(offset);
  trailer->set_page_count(scanner_.page_count());
  trailer->set_digest_xxh3(digest_.value());
  return Step::kTrailer;
}

}  // namespace romulus
