#ifndef ROMULUS_COMMON_LINK_CHECKPOINT_MESSAGES_H_
#define ROMULUS_COMMON_LINK_CHECKPOINT_MESSAGES_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/codec/checkpoint_pipeline.h"
#include "common/stream/checkpoint_chunker.h"
#include "common/stream/checkpoint_reader.h"
#include "proto/replication/v1/replication.pb.h"

namespace romulus {

// One checkpoint as the messages that gRPC sends: CheckpointData, with the bytes as they are or encoded, and the
// trailer, which is a message of its own or part of the last. Each is made when it is asked for; a few pieces more are
// being encoded meanwhile. One thread at a time.
class CheckpointMessages {
 public:
  struct Which {
    uint64_t generation = 0;
    uint64_t epoch = 0;
    uint32_t attempt = 0;
    // The secondary knows CheckpointData.trailer.
    bool trailer_in_data = true;
    replication::v1::AfterCheckpoint after = replication::v1::AFTER_CHECKPOINT_UNSPECIFIED;
  };
  struct Message {
    grpc::ByteBuffer bytes;
    size_t payload_bytes = 0;  // On the wire.
    bool is_last = false;      // It is, or has, the trailer.
  };

  // The first message's payload, of several that are not encoded (CheckpointChunker): so much is sent before all of a
  // large one has been digested.
  static constexpr size_t kFirstRawBytes = 128 << 10;

  // chunk_bytes: the largest payload, decoded. `pipeline` encodes, and outlives this; null: as the bytes are.
  CheckpointMessages(Which which, std::shared_ptr<CheckpointReader> reader, size_t chunk_bytes,
                     CheckpointPipeline* pipeline);
  // Waits for what is being encoded.
  ~CheckpointMessages();

  // Blocks in the reader. Nothing follows the trailer or an error, which is as CheckpointChunker::Next's.
  absl::StatusOr<Message> Next();
  bool malformed() const { return chunker_.malformed(); }

  // How long Next has waited for the encoder.
  absl::Duration waited_for_encoder() const { return waited_for_encoder_; }

 private:
  absl::StatusOr<Message> NextRaw();
  absl::StatusOr<Message> NextEncoded();
  absl::StatusOr<CheckpointChunker::Piece> NextPiece();
  absl::Status FillPipeline();
  grpc::ByteBuffer DataBytes(uint64_t offset, grpc::Slice payload, bool with_trailer) const;
  replication::v1::CheckpointTrailer Trailer() const;
  absl::StatusOr<Message> TrailerMessage() const;

  const Which which_;
  const std::shared_ptr<CheckpointReader> reader_;
  const size_t chunk_bytes_;
  CheckpointPipeline* const pipeline_;
  CheckpointChunker chunker_;
  bool ended_ = false;        // The pipeline has the last piece.
  bool end_seen_ = false;     // And nothing follows it.
  uint64_t next_offset_ = 0;  // Of the pipeline's next block.
  // What does not lie in memory is read to here: one for each piece in the pipeline.
  std::array<std::unique_ptr<char[]>, CheckpointPipeline::kDepth> buffers_;
  size_t next_buffer_ = 0;
  absl::Duration waited_for_encoder_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_CHECKPOINT_MESSAGES_H_
