#include "tests/bench/page_by_page.h"

#include <cstring>

#include "common/base/log.h"
#include "common/codec/page_delta.h"
#include "tests/bench/page_trace.h"
#include "tests/bench/xbzrle.h"

namespace romulus {
namespace {

constexpr size_t kPage = xbzrle::kPageBytes;

enum Case : char { kWhole, kZero, kUnchanged, kDifference };

char* Known(std::vector<std::unique_ptr<char[]>>& cache, uint64_t frame, bool* is_new) {
  if (frame >= cache.size()) cache.resize(frame + 1);
  *is_new = cache[frame] == nullptr;
  if (*is_new) cache[frame].reset(new char[kPage]);
  return cache[frame].get();
}

}  // namespace

void PageByPage::EncodePage(uint64_t frame, const char* page, GrowableBytes* wire) {
  bool is_new = true;
  char* const before = xbzrle_ ? Known(sent_, frame, &is_new) : nullptr;
  char* const to = wire->Reserve(3 + kPage);
  size_t written = 1;
  if (IsZeroPage(page)) {
    to[0] = kZero;
  } else if (const int size = is_new ? -1 : xbzrle::Encode(before, page, to + 3); size >= 0) {
    to[0] = size == 0 ? kUnchanged : kDifference;
    to[1] = static_cast<char>(size);
    to[2] = static_cast<char>(size >> 8);
    written = size == 0 ? 1 : 3 + size;
  } else {
    to[0] = kWhole;
    memcpy(to + 1, page, kPage);
    written = 1 + kPage;
  }
  if (before != nullptr && to[0] != kUnchanged) memcpy(before, page, kPage);
  wire->Commit(written);
}

void PageByPage::Encode(absl::Span<const char> checkpoint, GrowableBytes* wire) {
  WalkCheckpoint(
      checkpoint, [&](absl::Span<const char> bytes) { wire->Append(bytes); },
      [&](uint64_t frame, const char* page) { EncodePage(frame, page, wire); });
}

void PageByPage::Decode(absl::Span<const char> wire, absl::Span<char> to) {
  using namespace stream_format;  // NOLINT
  const char* at = wire.data();
  char* out = to.data();
  const auto take = [&](void* target, size_t size) {
    memcpy(target, at, size);
    at += size;
  };
  while (out < to.data() + to.size()) {
    uint32_t type_and_length[2];
    memcpy(type_and_length, at, sizeof(type_and_length));
    if (type_and_length[0] != kPageData) {
      const size_t size = kRecordHeaderBytes + (size_t{type_and_length[1]} + 7) / 8 * 8;
      take(out, size);
      out += size;
      continue;
    }
    uint32_t count;
    memcpy(&count, at + kRecordHeaderBytes, sizeof(count));
    const size_t size = kRecordHeaderBytes + 8 + 8 * size_t{count};
    const char* frames = out + kRecordHeaderBytes + 8;
    take(out, size);
    out += size;
    for (; count > 0; --count, frames += 8) {
      uint64_t frame;
      memcpy(&frame, frames, sizeof(frame));
      if (frame >> kFrameTypeShift >= kFrameTypeBroken) continue;
      bool is_new = true;
      char* const known = xbzrle_ ? Known(received_, frame & ((uint64_t{1} << 52) - 1), &is_new) : nullptr;
      switch (*at++) {
        case kWhole:
          take(out, kPage);
          if (known != nullptr) memcpy(known, out, kPage);
          break;
        case kZero:
          memset(out, 0, kPage);
          if (known != nullptr) memset(known, 0, kPage);
          break;
        case kUnchanged:
          memcpy(out, known, kPage);
          break;
        case kDifference: {
          uint16_t length;
          take(&length, sizeof(length));
          ROMULUS_CHECK(xbzrle::Decode(at, length, known));
          at += length;
          memcpy(out, known, kPage);
          break;
        }
      }
      out += kPage;
    }
  }
  ROMULUS_CHECK(at == wire.data() + wire.size());
}

}  // namespace romulus
