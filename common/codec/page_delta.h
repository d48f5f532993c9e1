#ifndef ROMULUS_COMMON_CODEC_PAGE_DELTA_H_
#define ROMULUS_COMMON_CODEC_PAGE_DELTA_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "common/codec/growable_bytes.h"

namespace romulus {

// Pages here are 4096 bytes. All functions are pure.

bool IsZeroPage(const char* page);
// As memcmp would say; in an emulator, where SSE is dear, in less than half its time (no more on a processor).
bool SamePage(const char* a, const char* b);

// Where two pages differ: bit i % 64 of word i / 64 stands for byte i.
struct PageDifference {
  std::array<uint64_t, 64> words;
  uint32_t changed_bytes = 0;
  // Groups of adjacent changed bytes.
  uint32_t runs = 0;
};
PageDifference Compare(const char* before, const char* after);
// Against a page of zeros.
PageDifference CompareWithZero(const char* after);

// A patch: control bytes (the number of runs, and for each the bytes kept before it and the bytes replaced, varints)
// and the new bytes. Runs that lie nearer to each other than a pair of varints costs are made one.
void AppendPatch(const PageDifference& difference, const char* after, GrowableBytes* control, GrowableBytes* bytes);

// Applies the patch at the front of `control` and `bytes`, and takes it off them. False, with the page in any state:
// malformed.
[[nodiscard]] bool ApplyPatch(absl::Span<const char>* control, absl::Span<const char>* bytes, char* page);

// Whether a page may be mostly zeros, by its first 512 bytes.
bool LooksSparse(const char* page);

// How many of 256 bytes sampled from a page differ: about 162 for random bytes, 110 for machine code, 40 for text.
int SampledByteValues(const char* page);

}  // namespace romulus

#endif  // ROMULUS_COMMON_CODEC_PAGE_DELTA_H_
