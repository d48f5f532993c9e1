#ifndef ROMULUS_COMMON_CODEC_CHECKPOINT_DECODER_H_
#define ROMULUS_COMMON_CODEC_CHECKPOINT_DECODER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/codec/block_format.h"
#include "common/codec/compressor.h"
#include "common/codec/growable_bytes.h"
#include "common/codec/page_slots.h"

namespace romulus {

// Turns the blocks of one session's CheckpointEncoder, in order, back into exactly the bytes that it was given.
// Takes hostile input: time and memory are bounded by the block's length and by Limits. One thread at a time.
class CheckpointDecoder {
 public:
  struct Limits {
    // Of the cache's contents; as agreed with the encoder's side, at least what the encoder has.
    uint64_t cache_bytes_max = 0;
  };

  explicit CheckpointDecoder(Limits limits);

  // What a block decodes to: 1 to block_format::kRawBytesMax bytes. INVALID_ARGUMENT: not a block.
  static absl::StatusOr<uint32_t> RawBytes(absl::Span<const char> block);

  // Decodes a block; `to` has exactly RawBytes(block) bytes. After an error their contents mean nothing, and neither
  // does the cache: only a block of a higher cache generation is taken after that, others give the same error again.
  // INVALID_ARGUMENT: not a block that an encoder makes. FAILED_PRECONDITION: the cache has not what the encoder's has:
  // heal it by CheckpointEncoder::ResetCache. Where it has something else, other bytes come out: compare a digest of
  // them all.
  absl::Status Decode(absl::Span<const char> block, absl::Span<char> to);

  uint64_t cache_bytes() const { return slots_.memory_bytes(); }

  // For tests, which spoil what is in the cache.
  PageSlots* slots_for_test() { return &slots_; }

 private:
  class Operations;

  Decompressor decompressor_;
  PageSlots slots_;
  uint32_t cache_generation_ = 0;
  absl::Status failure_;  // Until a higher generation.
  std::array<GrowableBytes, block_format::kStreams> buffers_;
  std::array<absl::Span<const char>, block_format::kStreams> streams_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CODEC_CHECKPOINT_DECODER_H_
