#include "common/codec/stream_units.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "common/base/log.h"
#include "common/codec/block_format.h"
#include "common/stream/stream_format.h"

namespace romulus {
namespace {

using namespace stream_format;  // NOLINT: this file is about nothing else.

// Longer lists of frames, which no saver makes, are plain bytes.
constexpr uint32_t kFramesMax = 1 << 18;
constexpr uint64_t kStateKey = uint64_t{1} << 63;
constexpr size_t kForever = std::numeric_limits<size_t>::max();

uint32_t Word(const char* bytes) {
  uint32_t word;
  memcpy(&word, bytes, sizeof(word));
  return word;
}

}  // namespace

StreamUnits::StreamUnits(bool first_checkpoint)
    : part_(first_checkpoint ? Part::kHeaders : Part::kRecordHeader),
      left_(first_checkpoint ? kImageHeaderBytes + kDomainHeaderBytes : kRecordHeaderBytes) {}

size_t StreamUnits::needed() const {
  switch (part_) {
    case Part::kHeaders:
    case Part::kOpaque:
      return 1;
    case Part::kRecordHeader:
    case Part::kPageDataHeader:
      return kRecordHeaderBytes;
    case Part::kFrames:
      return sizeof(uint64_t);
    case Part::kPages:
      return kPageBytes;
    case Part::kBody:
      return record_type_ == kPageData ? 1 : std::min(left_, kPageBytes);
  }
  CheckFailed(__FILE__, __LINE__, "part_");
}

StreamUnits::Unit StreamUnits::Take(absl::Span<const char>* bytes) {
  ROMULUS_CHECK(!bytes->empty());
  Unit unit;
  if (bytes->size() < needed()) part_ = Part::kOpaque;  // The end of a stream that is cut off.
  switch (part_) {
    case Part::kHeaders:
    case Part::kOpaque:
      unit.bytes = bytes->subspan(0, part_ == Part::kOpaque ? kForever : left_);
      break;
    case Part::kRecordHeader:
    case Part::kPageDataHeader:
      unit.bytes = bytes->subspan(0, kRecordHeaderBytes);
      break;
    case Part::kFrames:
      unit.kind = Kind::kFrames;
      unit.bytes = bytes->subspan(0, std::min(left_, bytes->size() / sizeof(uint64_t) * sizeof(uint64_t)));
      break;
    case Part::kPages:
      unit.kind = Kind::kPage;
      unit.key = pages_[next_page_++];
      unit.bytes = bytes->subspan(0, kPageBytes);
      break;
    case Part::kBody:
      unit.bytes = bytes->subspan(0, record_type_ == kPageData ? left_ : std::min(left_, kPageBytes));
      if (record_type_ != kPageData && unit.bytes.size() >= block_format::kStateBytesMin) {
        unit.kind = Kind::kState;
        unit.key = kStateKey | uint64_t{record_type_} << 32 | body_pieces_++;
      }
      break;
  }
  bytes->remove_prefix(unit.bytes.size());
  if (part_ == Part::kOpaque) return unit;

  left_ -= unit.bytes.size();
  if (part_ == Part::kFrames) TakeFrames(unit.bytes);
  if (left_ > 0) return unit;
  switch (part_) {
    case Part::kRecordHeader:
      TakeRecordHeader(unit.bytes.data());
      return unit;
    case Part::kPageDataHeader:
      TakePageDataHeader(unit.bytes.data());
      return unit;
    case Part::kFrames:
      // What is not so many pages as the frames ask for is not taken for pages.
      if (body_left_ > 0 && body_left_ == pages_.size() * kPageBytes) {
        part_ = Part::kPages;
        left_ = body_left_;
        return unit;
      }
      EnterBody();
      return unit;
    default:
      part_ = Part::kRecordHeader;
      left_ = kRecordHeaderBytes;
      return unit;
  }
}

void StreamUnits::TakeRecordHeader(const char* bytes) {
  record_type_ = Word(bytes);
  const uint64_t length = Word(bytes + sizeof(uint32_t));
  body_left_ = (length + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment;
  body_pieces_ = 0;
  if (record_type_ == kPageData && length >= kRecordHeaderBytes && length % sizeof(uint64_t) == 0) {
    part_ = Part::kPageDataHeader;
    left_ = kRecordHeaderBytes;
    return;
  }
  EnterBody();
}

void StreamUnits::TakePageDataHeader(const char* bytes) {
  const uint64_t frames = Word(bytes);
  body_left_ -= kRecordHeaderBytes;
  pages_.clear();
  next_page_ = 0;
  if (frames == 0 || frames > kFramesMax || frames * sizeof(uint64_t) > body_left_) {
    EnterBody();
    return;
  }
  part_ = Part::kFrames;
  left_ = frames * sizeof(uint64_t);
  body_left_ -= left_;
}

void StreamUnits::TakeFrames(absl::Span<const char> frames) {
  constexpr uint64_t kNumber = (uint64_t{1} << 52) - 1;
  for (size_t at = 0; at < frames.size(); at += sizeof(uint64_t)) {
    uint64_t frame;
    memcpy(&frame, frames.data() + at, sizeof(frame));
    if (frame >> kFrameTypeShift < kFrameTypeBroken) pages_.push_back(frame & kNumber);
  }
}

void StreamUnits::EnterBody() {
  part_ = body_left_ > 0 ? Part::kBody : Part::kRecordHeader;
  left_ = body_left_ > 0 ? body_left_ : kRecordHeaderBytes;
}

}  // namespace romulus
