#ifndef ROMULUS_TESTS_BENCH_PAGE_TRACE_H_
#define ROMULUS_TESTS_BENCH_PAGE_TRACE_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/log.h"
#include "common/stream/stream_format.h"

namespace romulus {

// A recorded trace (tests/bench/record-traces).
struct PageTrace {
  std::string name;
  std::string bytes;
  // [0] is the history: what was known of the others' pages before them.
  std::vector<absl::Span<const char>> checkpoints;
};
absl::StatusOr<PageTrace> LoadPageTrace(const std::string& path);

// Walks over a well-formed checkpoint without headers: on_page(frame number, contents) for each page,
// on_bytes(span) for all that lies between, in their order.
template <typename OnBytes, typename OnPage>
void WalkCheckpoint(absl::Span<const char> checkpoint, OnBytes on_bytes, OnPage on_page) {
  using namespace stream_format;  // NOLINT
  const char* at = checkpoint.data();
  const char* const end = at + checkpoint.size();
  while (at < end) {
    uint32_t type_and_length[2];
    memcpy(type_and_length, at, sizeof(type_and_length));
    const size_t body = (type_and_length[1] + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment;
    ROMULUS_CHECK(body + kRecordHeaderBytes <= static_cast<size_t>(end - at));
    if (type_and_length[0] != kPageData) {
      on_bytes(absl::MakeConstSpan(at, kRecordHeaderBytes + body));
      at += kRecordHeaderBytes + body;
      continue;
    }
    uint32_t count;
    memcpy(&count, at + kRecordHeaderBytes, sizeof(count));
    const char* frames = at + kRecordHeaderBytes + 8;
    const char* page = frames + 8 * size_t{count};
    on_bytes(absl::MakeConstSpan(at, page - at));
    for (; count > 0; --count, frames += 8) {
      uint64_t frame;
      memcpy(&frame, frames, sizeof(frame));
      if (frame >> kFrameTypeShift >= kFrameTypeBroken) continue;
      on_page(frame & ((uint64_t{1} << 52) - 1), page);
      page += kPageBytes;
    }
    at = page;
  }
  ROMULUS_CHECK(at == end);
}

}  // namespace romulus

#endif  // ROMULUS_TESTS_BENCH_PAGE_TRACE_H_
