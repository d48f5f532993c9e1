#ifndef ROMULUS_COMMON_CODEC_VARINT_H_
#define ROMULUS_COMMON_CODEC_VARINT_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "common/codec/growable_bytes.h"

namespace romulus {

constexpr size_t kVarintBytesMax = 10;

// LEB128. Returns where the next byte goes; `to` has room for kVarintBytesMax.
inline char* PutVarint(uint64_t value, char* to) {
  while (value >= 0x80) {
    *to++ = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  *to++ = static_cast<char>(value);
  return to;
}

inline void AppendVarint(uint64_t value, GrowableBytes* to) {
  char* const start = to->Reserve(kVarintBytesMax);
  to->Commit(PutVarint(value, start) - start);
}

// Takes one off the front of `from`. False: it is cut off, or longer than 64 bits.
[[nodiscard]] inline bool TakeVarint(absl::Span<const char>* from, uint64_t* value) {
  uint64_t result = 0;
  const size_t size = from->size();
  for (size_t i = 0; i < size && i < kVarintBytesMax; ++i) {
    const uint64_t byte = static_cast<unsigned char>((*from)[i]);
    if (i == 9 && byte > 1) return false;
    result |= (byte & 0x7f) << (7 * i);
    if (byte < 0x80) {
      from->remove_prefix(i + 1);
      *value = result;
      return true;
    }
  }
  return false;
}

// Small numbers of either sign as small numbers. Wraps: any uint64_t difference has one.
inline uint64_t ZigZag(uint64_t difference) { return (difference << 1) ^ (0 - (difference >> 63)); }
inline uint64_t UnZigZag(uint64_t value) { return (value >> 1) ^ (0 - (value & 1)); }

}  // namespace romulus

#endif  // ROMULUS_COMMON_CODEC_VARINT_H_
