#include "tests/bench/xbzrle.h"

#include <bit>
#include <cstring>

namespace romulus::xbzrle {
namespace {

static_assert(std::endian::native == std::endian::little);

uint64_t Difference(const char* before, const char* after, size_t at) {
  uint64_t a, b;
  memcpy(&a, before + at, sizeof(a));
  memcpy(&b, after + at, sizeof(b));
  return a ^ b;
}

// The first byte from `at` on that differs, or kPageBytes.
size_t EndOfUnchanged(const char* before, const char* after, size_t at) {
  for (; at % 8 != 0 && at < kPageBytes; ++at) {
    if (before[at] != after[at]) return at;
  }
  for (; at < kPageBytes; at += 8) {
    if (const uint64_t difference = Difference(before, after, at); difference != 0) {
      return at + std::countr_zero(difference) / 8;
    }
  }
  return kPageBytes;
}

// The first byte from `at` on that does not differ, or kPageBytes.
size_t EndOfChanged(const char* before, const char* after, size_t at) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  for (; at % 8 != 0 && at < kPageBytes; ++at) {
    if (before[at] == after[at]) return at;
  }
  for (; at < kPageBytes; at += 8) {
    const uint64_t difference = Difference(before, after, at);
    // The lowest marked byte is the first that is zero (marks above it may be wrong: it may have borrowed).
    const uint64_t zeros = (difference - kOnes) & ~difference & (kOnes << 7);
    if (zeros != 0) return at + std::countr_zero(zeros) / 8;
  }
  return kPageBytes;
}

size_t PutLength(size_t length, char* to) {
  if (length < 0x80) {
    to[0] = static_cast<char>(length);
    return 1;
  }
  to[0] = static_cast<char>(length | 0x80);
  to[1] = static_cast<char>(length >> 7);
  return 2;
}

bool TakeLength(const unsigned char*& at, const unsigned char* end, size_t& length) {
  if (at == end) return false;
  length = *at++;
  if (length < 0x80) return true;
  if (at == end || *at >= 0x80) return false;
  length = (length & 0x7f) | size_t{*at++} << 7;
  return true;
}

}  // namespace

int Encode(const char* before, const char* after, char* to) {
  size_t written = 0;
  size_t at = 0;
  while (at < kPageBytes) {
    const size_t changed = EndOfUnchanged(before, after, at);
    if (changed == kPageBytes) break;
    if (written + 2 > kPageBytes) return -1;
    written += PutLength(changed - at, to + written);
    at = EndOfChanged(before, after, changed);
    if (written + 2 > kPageBytes) return -1;
    written += PutLength(at - changed, to + written);
    if (written + (at - changed) > kPageBytes) return -1;
    memcpy(to + written, after + changed, at - changed);
    written += at - changed;
  }
  return static_cast<int>(written);
}

bool Decode(const char* encoded, size_t size, char* page) {
  const auto* at = reinterpret_cast<const unsigned char*>(encoded);
  const unsigned char* const end = at + size;
  size_t place = 0;
  while (at < end) {
    size_t kept = 0, replaced = 0;
    if (!TakeLength(at, end, kept) || !TakeLength(at, end, replaced)) return false;
    if (place + kept + replaced > kPageBytes || replaced > static_cast<size_t>(end - at)) return false;
    memcpy(page + place + kept, at, replaced);
    place += kept + replaced;
    at += replaced;
  }
  return true;
}

}  // namespace romulus::xbzrle
