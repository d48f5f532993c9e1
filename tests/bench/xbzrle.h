#ifndef ROMULUS_TESTS_BENCH_XBZRLE_H_
#define ROMULUS_TESTS_BENCH_XBZRLE_H_

#include <cstddef>
#include <cstdint>

namespace romulus::xbzrle {

// QEMU's encoding of a page against an earlier version of it, to compare with: docs/xbzrle.txt of QEMU, after Svaerd,
// Hudzia, Tordsson, Elmroth: "Evaluation of delta compression techniques for efficient live migration of large virtual
// machines" (VEE 2011). Alternating runs of unchanged and of changed bytes; of a changed run the new bytes follow:
//
//   page = (zrun nzrun)*     zrun = length     nzrun = length byte*     length = uleb128, at most two bytes
//
// A last unchanged run is left out. Pages are 4096 bytes. Pure.
constexpr size_t kPageBytes = 4096;

// The bytes written to `to`, which has kPageBytes; 0: the page is unchanged. -1: it would take more than kPageBytes.
int Encode(const char* before, const char* after, char* to);

// Turns `page` from the earlier version into the later one. False: malformed.
[[nodiscard]] bool Decode(const char* encoded, size_t size, char* page);

}  // namespace romulus::xbzrle

#endif  // ROMULUS_TESTS_BENCH_XBZRLE_H_
