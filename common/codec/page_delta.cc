#include "common/codec/page_delta.h"

#include <emmintrin.h>

#include <bit>
#include <cstring>

#include "common/codec/block_format.h"
#include "common/codec/varint.h"

namespace romulus {
namespace {

constexpr size_t kPage = block_format::kUnitBytes;
// A run costs two varints. With fewer unchanged bytes than that between them, two runs are dearer than one.
constexpr size_t kGapMin = 4;

__m128i Load(const char* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }

// Bit i: byte i of the two is equal.
uint32_t EqualBytes(__m128i a, __m128i b) { return static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(a, b))); }

uint64_t Load64(const char* from) {
  uint64_t word;
  memcpy(&word, from, sizeof(word));
  return word;
}

bool AllZero64Bytes(const char* at) {
  return (Load64(at) | Load64(at + 8) | Load64(at + 16) | Load64(at + 24) | Load64(at + 32) | Load64(at + 40) |
          Load64(at + 48) | Load64(at + 56)) == 0;
}

bool Equal64Bytes(const char* a, const char* b) {
  const auto differ = [a, b](size_t at) { return Load64(a + at) ^ Load64(b + at); };
  return (differ(0) | differ(8) | differ(16) | differ(24) | differ(32) | differ(40) | differ(48) | differ(56)) == 0;
}

// Most of a page is as it was: whole words are compared first, which is cheap everywhere (in an emulator, where SSE is
// not, too).
template <typename Before, typename Same>
PageDifference CompareTo(Before before, Same same, const char* after) {
  PageDifference difference;
  uint64_t carry = 0;  // Whether the byte before has changed.
  for (size_t word = 0; word < difference.words.size(); ++word) {
    if (same(word * 64)) {
      difference.words[word] = 0;
      carry = 0;
      continue;
    }
    uint64_t equal = 0;
    for (size_t part = 0; part < 4; ++part) {
      const size_t at = word * 64 + part * 16;
      equal |= static_cast<uint64_t>(EqualBytes(before(at), Load(after + at))) << (part * 16);
    }
    const uint64_t changed = ~equal;
    difference.words[word] = changed;
    difference.changed_bytes += std::popcount(changed);
    difference.runs += std::popcount(changed & ~(changed << 1 | carry));
    carry = changed >> 63;
  }
  return difference;
}

// The first bit at or after `from` that is `kSet`, or kPage.
template <bool kSet>
size_t NextBit(const PageDifference& difference, size_t from) {
  if (from >= kPage) return kPage;
  size_t word = from / 64;
  uint64_t bits = kSet ? difference.words[word] : ~difference.words[word];
  bits &= ~uint64_t{0} << (from % 64);
  while (bits == 0) {
    if (++word == difference.words.size()) return kPage;
    bits = kSet ? difference.words[word] : ~difference.words[word];
  }
  return word * 64 + std::countr_zero(bits);
}

}  // namespace

bool IsZeroPage(const char* page) {
  for (size_t at = 0; at < kPage; at += 64) {
    if (!AllZero64Bytes(page + at)) return false;
  }
  return true;
}

bool SamePage(const char* a, const char* b) {
  for (size_t at = 0; at < kPage; at += 64) {
    if (!Equal64Bytes(a + at, b + at)) return false;
  }
  return true;
}

PageDifference Compare(const char* before, const char* after) {
  return CompareTo([before](size_t at) { return Load(before + at); },
                   [before, after](size_t at) { return Equal64Bytes(before + at, after + at); }, after);
}

PageDifference CompareWithZero(const char* after) {
  return CompareTo([](size_t) { return _mm_setzero_si128(); },
                   [after](size_t at) { return AllZero64Bytes(after + at); }, after);
}

void AppendPatch(const PageDifference& difference, const char* after, GrowableBytes* control, GrowableBytes* bytes) {
  // Two varints of at most two bytes for each run, and kGapMin bytes between runs: fewer than a page of control.
  std::array<char, 2 * kPage> runs;
  char* to = runs.data();
  uint32_t count = 0;
  char* const bytes_start = bytes->Reserve(kPage);
  char* bytes_to = bytes_start;
  size_t end = 0;  // Of the run before.
  size_t start = NextBit<true>(difference, 0);
  while (start < kPage) {
    size_t run_end = NextBit<false>(difference, start);
    size_t next = NextBit<true>(difference, run_end);
    while (next < kPage && next - run_end < kGapMin) {
      run_end = NextBit<false>(difference, next);
      next = NextBit<true>(difference, run_end);
    }
    to = PutVarint(start - end, to);
    to = PutVarint(run_end - start, to);
    memcpy(bytes_to, after + start, run_end - start);
    bytes_to += run_end - start;
    ++count;
    end = run_end;
    start = next;
  }
  AppendVarint(count, control);
  control->Append(absl::MakeConstSpan(runs.data(), to - runs.data()));
  bytes->Commit(bytes_to - bytes_start);
}

bool ApplyPatch(absl::Span<const char>* control, absl::Span<const char>* bytes, char* page) {
  uint64_t count = 0;
  if (!TakeVarint(control, &count) || count > kPage) return false;
  size_t at = 0;
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t kept = 0;
    uint64_t replaced = 0;
    if (!TakeVarint(control, &kept) || !TakeVarint(control, &replaced)) return false;
    if (kept > kPage - at) return false;
    at += kept;
    if (replaced > kPage - at || replaced > bytes->size()) return false;
    memcpy(page + at, bytes->data(), replaced);
    bytes->remove_prefix(replaced);
    at += replaced;
  }
  return true;
}

bool LooksSparse(const char* page) {
  int zeros = 0;
  for (size_t at = 0; at < 512; at += 16) zeros += std::popcount(EqualBytes(Load(page + at), _mm_setzero_si128()));
  return zeros >= 64;
}

int SampledByteValues(const char* page) {
  uint64_t seen[4] = {};
  for (size_t at = 0; at < kPage; at += 512) {
    for (size_t i = 0; i < 32; ++i) {
      const unsigned char byte = static_cast<unsigned char>(page[at + i]);
      seen[byte / 64] |= uint64_t{1} << (byte % 64);
    }
  }
  return std::popcount(seen[0]) + std::popcount(seen[1]) + std::popcount(seen[2]) + std::popcount(seen[3]);
}

}  // namespace romulus
