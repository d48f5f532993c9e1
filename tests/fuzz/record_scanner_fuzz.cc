// Any bytes as a checkpoint: the scanner neither crashes nor contradicts itself, however they are cut.
// Input: one byte (bit 0: a later checkpoint; the rest: the size of the pieces), then the stream.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/log.h"
#include "common/stream/record_scanner.h"
#include "common/stream/stream_format.h"
#include "common/stream/synthetic_stream.h"
#include "tests/fuzz/seeds.h"

namespace romulus {

std::vector<std::string> FuzzSeeds() {
  using namespace stream_format;  // NOLINT
  SyntheticStream first;
  first.Preamble().PageData({{1, 0, "one"}, {2, kFrameTypeXtab, ""}, {3, 12, "table"}}).State("vcpu").EndCheckpoint();
  SyntheticStream later;
  later.PageData({{4, kFrameTypeXalloc, ""}}).PageData({{5, 0, "five"}}).State("vcpus").EndCheckpoint();
  SyntheticStream empty;
  empty.State("").EndCheckpoint();
  return {std::string(1, 6) + first.bytes(), std::string(1, 15) + later.bytes(), std::string(1, 3) + empty.bytes()};
}

}  // namespace romulus

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using romulus::RecordScanner;
  if (size == 0) return 0;
  const auto kind = data[0] & 1 ? RecordScanner::Checkpoint::kLater : RecordScanner::Checkpoint::kFirst;
  const absl::Span<const char> stream(reinterpret_cast<const char*>(data) + 1, size - 1);

  RecordScanner whole(kind);
  const absl::Status at_once = whole.Feed(stream);
  RecordScanner cut(kind);
  absl::Status in_pieces;
  const size_t piece = 1 + (data[0] >> 1);
  for (size_t at = 0; at < stream.size() && in_pieces.ok(); at += piece) {
    in_pieces = cut.Feed(stream.subspan(at, piece));
    ROMULUS_CHECK(cut.offset_before_checkpoint_record() <= cut.offset());
    ROMULUS_CHECK(cut.offset() - cut.offset_before_checkpoint_record() <= romulus::stream_format::kRecordHeaderBytes);
  }
  ROMULUS_CHECK(at_once == in_pieces);
  if (at_once.ok()) {
    ROMULUS_CHECK(whole.offset() == stream.size() && cut.offset() == stream.size());
    ROMULUS_CHECK(whole.complete() == cut.complete() && whole.page_count() == cut.page_count());
    ROMULUS_CHECK(whole.page_count() * romulus::stream_format::kPageBytes <= stream.size() + (128 << 20));
  }
  return 0;
}
