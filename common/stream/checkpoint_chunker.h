#ifndef ROMULUS_COMMON_STREAM_CHECKPOINT_CHUNKER_H_
#define ROMULUS_COMMON_STREAM_CHECKPOINT_CHUNKER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/stream/checkpoint_reader.h"
#include "common/stream/record_scanner.h"
#include "common/stream/stream_digest.h"
#include "proto/replication/v1/replication.pb.h"

namespace romulus {

// The sender's side: turns one checkpoint into CheckpointData messages and its CheckpointTrailer. Holds no contents:
// each message is made when it is asked for. Used by one thread at a time.
class CheckpointChunker {
 public:
  enum class Step { kData, kTrailer };

  // chunk_bytes: the largest payload, at least 1. `spare`: memory for payloads, which its owner keeps from checkpoint to
  // checkpoint so that it need not be made (and zeroed) for each; null: it is made. Outlives the chunker.
  CheckpointChunker(uint64_t epoch, std::shared_ptr<CheckpointReader> reader, size_t chunk_bytes,
                    std::string* spare = nullptr);

  // Makes the next message's body; blocks in the reader. After kTrailer there is nothing more to ask for. Give the same
  // message again and its buffer is used again.
  // An error: the reader's, or INTERNAL: what it gave is not a whole checkpoint; then there is no trailer, ever.
  absl::StatusOr<Step> Next(replication::v1::PrimaryMessage* message);

  // Next failed because of what the reader gave, of which its owner knows nothing.
  bool malformed() const { return malformed_; }

 private:
  const uint64_t epoch_;
  const std::shared_ptr<CheckpointReader> reader_;
  const size_t chunk_bytes_;
  std::string* const spare_;
  RecordScanner scanner_;
  StreamDigest digest_;
  bool malformed_ = false;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_STREAM_CHECKPOINT_CHUNKER_H_
