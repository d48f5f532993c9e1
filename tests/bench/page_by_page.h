#ifndef ROMULUS_TESTS_BENCH_PAGE_BY_PAGE_H_
#define ROMULUS_TESTS_BENCH_PAGE_BY_PAGE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "tests/bench/checkpoint_coding.h"

namespace romulus {

// The encodings that look at one page at a time, as QEMU's migration does: a page of zeros is told in a byte; with
// xbzrle, a page that was sent before is told as what changed in it, where that is shorter. The cache is as large as
// the guest. On the wire: what is in no page, as it is, and for each page a byte that says which case it is, for a
// difference its length (two bytes), and the bytes.
class PageByPage final : public CheckpointCoding {
 public:
  explicit PageByPage(bool xbzrle) : xbzrle_(xbzrle) {}

  void Encode(absl::Span<const char> checkpoint, GrowableBytes* wire) override;
  void Decode(absl::Span<const char> wire, absl::Span<char> to) override;

 private:
  // By frame number.
  using Cache = std::vector<std::unique_ptr<char[]>>;

  void EncodePage(uint64_t frame, const char* page, GrowableBytes* wire);

  const bool xbzrle_;
  Cache sent_;
  Cache received_;
};

}  // namespace romulus

#endif  // ROMULUS_TESTS_BENCH_PAGE_BY_PAGE_H_
