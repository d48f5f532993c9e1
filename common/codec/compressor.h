#ifndef ROMULUS_COMMON_CODEC_COMPRESSOR_H_
#define ROMULUS_COMMON_CODEC_COMPRESSOR_H_

#include <cstddef>
#include <memory>

#include "absl/types/span.h"
#include "common/codec/block_format.h"
#include "common/codec/growable_bytes.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace romulus {

// LZ4 and zstd, with memory that is kept from call to call. One thread at a time.
class Compressor {
 public:
  Compressor();

  // Appends `bytes` in `encoding` to `to`. False, with nothing appended: that would take more than bytes_max (raw:
  // never). zstd_level: as zstd's; negative ones are faster.
  bool Append(block_format::Encoding encoding, absl::Span<const char> bytes, size_t bytes_max, GrowableBytes* to,
              int zstd_level = 1);

 private:
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const;
  };
  std::unique_ptr<ZSTD_CCtx_s, Free> zstd_;
  std::unique_ptr<char[]> lz4_state_;
};

// Takes hostile input. One thread at a time.
class Decompressor {
 public:
  Decompressor();

  // Fills all of `to`. False, with `to` in any state: `coded` is not the encoding of exactly as many bytes.
  [[nodiscard]] bool Decode(block_format::Encoding encoding, absl::Span<const char> coded, absl::Span<char> to);

 private:
  struct Free {
    void operator()(ZSTD_DCtx_s* context) const;
  };
  std::unique_ptr<ZSTD_DCtx_s, Free> zstd_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CODEC_COMPRESSOR_H_
