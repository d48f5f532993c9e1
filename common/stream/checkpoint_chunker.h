#ifndef ROMULUS_COMMON_STREAM_CHECKPOINT_CHUNKER_H_
#define ROMULUS_COMMON_STREAM_CHECKPOINT_CHUNKER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/stream/checkpoint_reader.h"
#include "common/stream/record_scanner.h"
#include "common/stream/stream_digest.h"
#include "proto/replication/v1/replication.pb.h"

namespace romulus {

// The sender's side: turns one checkpoint into pieces for CheckpointData messages and its CheckpointTrailer. Holds no
// contents: each piece is made when it is asked for. Used by one thread at a time.
class CheckpointChunker {
 public:
  enum class Step { kData, kTrailer };

  struct Piece {
    uint64_t offset = 0;  // Within the checkpoint.
    absl::Span<const char> bytes;
  };

  // chunk_bytes: the largest payload, at least 1. first_chunk_bytes: of the first one, if the checkpoint lies in memory
  // and does not fit into one; so the other end has something to do while the second is made.
  CheckpointChunker(uint64_t epoch, std::shared_ptr<CheckpointReader> reader, size_t chunk_bytes,
                    size_t first_chunk_bytes = SIZE_MAX);

  // The next piece: in the reader's memory if it is in_place(), else in `buffer`, of at least chunk_bytes. Empty: that
  // was all, and Trailer() is due. Blocks in the reader.
  // An error: the reader's, or INTERNAL: what it gave is not a whole checkpoint; then there is no trailer, ever.
  absl::StatusOr<Piece> Next(absl::Span<char> buffer);
  replication::v1::CheckpointTrailer Trailer() const;
  // The last piece was the checkpoint's last.
  bool complete() const { return scanner_.complete(); }

  // As Next and Trailer, as a message's body, with a copy of the bytes.
  absl::StatusOr<Step> NextMessage(replication::v1::PrimaryMessage* message);

  // Next failed because of what the reader gave, of which its owner knows nothing.
  bool malformed() const { return malformed_; }

 private:
  absl::StatusOr<absl::Span<const char>> Read(absl::Span<char> buffer);

  const uint64_t epoch_;
  const std::shared_ptr<CheckpointReader> reader_;
  const size_t chunk_bytes_;
  const size_t first_chunk_bytes_;
  RecordScanner scanner_;
  StreamDigest digest_;
  bool malformed_ = false;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_STREAM_CHECKPOINT_CHUNKER_H_
