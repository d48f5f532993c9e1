#include "common/codec/compressor.h"

#include <lz4.h>
#include <zstd.h>

#include <algorithm>

#include "common/base/log.h"

namespace romulus {

using block_format::Encoding;

Compressor::Compressor() : zstd_(ZSTD_createCCtx()), lz4_state_(new char[LZ4_sizeofState()]) {
  ROMULUS_CHECK(zstd_ != nullptr);
}

void Compressor::Free::operator()(ZSTD_CCtx_s* context) const { ZSTD_freeCCtx(context); }

bool Compressor::Append(Encoding encoding, absl::Span<const char> bytes, size_t bytes_max, GrowableBytes* to,
                        int zstd_level) {
  switch (encoding) {
    case Encoding::kRaw:
      to->Append(bytes);
      return true;
    case Encoding::kLz4: {
      ROMULUS_CHECK(bytes.size() <= LZ4_MAX_INPUT_SIZE);
      const int room = static_cast<int>(std::min<size_t>(bytes_max, LZ4_compressBound(static_cast<int>(bytes.size()))));
      const int coded = LZ4_compress_fast_extState(lz4_state_.get(), bytes.data(), to->Reserve(room),
                                                   static_cast<int>(bytes.size()), room, 1);
      if (coded <= 0) return false;
      to->Commit(coded);
      return true;
    }
    case Encoding::kZstd: {
      const size_t room = std::min(bytes_max, ZSTD_compressBound(bytes.size()));
      const size_t coded =
          ZSTD_compressCCtx(zstd_.get(), to->Reserve(room), room, bytes.data(), bytes.size(), zstd_level);
      if (ZSTD_isError(coded)) return false;
      to->Commit(coded);
      return true;
    }
  }
  CheckFailed(__FILE__, __LINE__, "encoding");
}

Decompressor::Decompressor() : zstd_(ZSTD_createDCtx()) { ROMULUS_CHECK(zstd_ != nullptr); }

void Decompressor::Free::operator()(ZSTD_DCtx_s* context) const { ZSTD_freeDCtx(context); }

bool Decompressor::Decode(Encoding encoding, absl::Span<const char> coded, absl::Span<char> to) {
  switch (encoding) {
    case Encoding::kRaw:
      if (coded.size() != to.size()) return false;
      if (!to.empty()) memcpy(to.data(), coded.data(), to.size());
      return true;
    case Encoding::kLz4:
      if (coded.size() > LZ4_MAX_INPUT_SIZE || to.size() > LZ4_MAX_INPUT_SIZE) return false;
      return LZ4_decompress_safe(coded.data(), to.data(), static_cast<int>(coded.size()),
                                 static_cast<int>(to.size())) == static_cast<int>(to.size());
    case Encoding::kZstd:
      // An error is a number larger than any size. In one call zstd needs no window beyond `to`.
      return ZSTD_decompressDCtx(zstd_.get(), to.data(), to.size(), coded.data(), coded.size()) == to.size();
  }
  return false;
}

}  // namespace romulus
