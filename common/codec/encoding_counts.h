#ifndef ROMULUS_COMMON_CODEC_ENCODING_COUNTS_H_
#define ROMULUS_COMMON_CODEC_ENCODING_COUNTS_H_

#include <array>
#include <cstdint>

#include "common/codec/block_format.h"

namespace romulus {

// How checkpoints were encoded, since the encoder was made.
struct EncodingCounts {
  uint64_t raw_bytes = 0;
  uint64_t encoded_bytes = 0;
  // Pages by what was made of them.
  uint64_t zero_pages = 0;
  uint64_t unchanged_pages = 0;
  uint64_t patched_pages = 0;
  uint64_t sparse_pages = 0;   // Mostly zeros.
  uint64_t literal_pages = 0;  // Sent whole, compressed or not.
  // Of all streams, before and after, by how they were compressed. Index: block_format::Encoding.
  struct Compressed {
    uint64_t bytes = 0;
    uint64_t coded_bytes = 0;
  };
  std::array<Compressed, block_format::kEncodings> by_encoding;
  // Processor time.
  uint64_t encode_ns = 0;
  uint64_t cache_resets = 0;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CODEC_ENCODING_COUNTS_H_
