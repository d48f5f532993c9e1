#include "common/stream/record_scanner.h"

#include <endian.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/stream/stream_format.h"

namespace romulus {
namespace {

using namespace stream_format;  // NOLINT: this file is about nothing else.

uint64_t LittleEndian(const unsigned char* bytes, size_t size) {
  uint64_t value = 0;
  for (size_t i = size; i-- > 0;) value = value << 8 | bytes[i];
  return value;
}

uint64_t BigEndian(const unsigned char* bytes, size_t size) {
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i) value = value << 8 | bytes[i];
  return value;
}

std::string RecordName(uint32_t type) {
  switch (type) {
    case kEnd:
      return "END";
    case kPageData:
      return "PAGE_DATA";
    case kPvInfo:
      return "X86_PV_INFO";
    case kPvP2mFrames:
      return "X86_PV_P2M_FRAMES";
    case kToolstack:
      return "TOOLSTACK";
    case kVerify:
      return "VERIFY";
    case kCheckpoint:
      return "CHECKPOINT";
    case kDirtyPfnList:
      return "CHECKPOINT_DIRTY_PFN_LIST";
    case kStaticDataEnd:
      return "STATIC_DATA_END";
    case kCpuidPolicy:
      return "X86_CPUID_POLICY";
    case kMsrPolicy:
      return "X86_MSR_POLICY";
    case kAttachments:
      return "Romulus' attachments";
    default:
      return absl::StrCat("type 0x", absl::Hex(type));
  }
}

bool DescribesDomain(uint32_t type) {
  return type == kPvInfo || type == kPvP2mFrames || type == kStaticDataEnd || type == kCpuidPolicy ||
         type == kMsrPolicy;
}

// Records of the state that every checkpoint carries.
bool IsState(uint32_t type) { return (type >= kPvVcpuBasic && type <= kHvmParams) || type == kPvVcpuMsrs; }

}  // namespace

RecordScanner::RecordScanner(Checkpoint checkpoint)
    : checkpoint_(checkpoint),
      part_(checkpoint == Checkpoint::kFirst ? Part::kImageHeader : Part::kRecordHeader),
      static_data_ended_(checkpoint == Checkpoint::kLater) {}

absl::Status RecordScanner::Feed(absl::Span<const char> bytes) {
  while (!bytes.empty()) {
    if (skip_ > 0) {
      const size_t skipped = static_cast<size_t>(std::min<uint64_t>(skip_, bytes.size()));
      skip_ -= skipped;
      offset_ += skipped;
      bytes.remove_prefix(skipped);
      continue;
    }
    if (complete_) return Malformed("bytes follow the checkpoint's last record");
    if (part_ == Part::kFrame && part_filled_ == 0 && bytes.size() >= sizeof(uint64_t)) {
      const absl::Status status = TakeFrames(bytes);
      if (!status.ok()) return status;
      continue;
    }
    if (part_ == Part::kRecordHeader && part_filled_ == 0) record_start_ = offset_;
    const size_t taken = std::min(PartBytes() - part_filled_, bytes.size());
    memcpy(part_bytes_ + part_filled_, bytes.data(), taken);
    part_filled_ += taken;
    offset_ += taken;
    bytes.remove_prefix(taken);
    if (part_filled_ < PartBytes()) continue;
    const absl::Status status = TakePart();
    if (!status.ok()) return status;
    part_filled_ = 0;
  }
  return absl::OkStatus();
}

uint64_t RecordScanner::offset_before_checkpoint_record() const {
  if (complete_ || (part_ == Part::kRecordHeader && part_filled_ > 0)) return record_start_;
  return offset_;
}

size_t RecordScanner::PartBytes() const {
  switch (part_) {
    case Part::kImageHeader:
      return kImageHeaderBytes;
    case Part::kDomainHeader:
      return kDomainHeaderBytes;
    case Part::kRecordHeader:
      return kRecordHeaderBytes;
    case Part::kPageDataHeader:
    case Part::kFrame:
      return sizeof(uint64_t);
  }
  CheckFailed(__FILE__, __LINE__, "part_");
}

absl::Status RecordScanner::TakePart() {
  switch (part_) {
    case Part::kImageHeader:
      return TakeImageHeader();
    case Part::kDomainHeader:
      return TakeDomainHeader();
    case Part::kRecordHeader:
      return TakeRecordHeader();
    case Part::kPageDataHeader:
      return TakePageDataHeader();
    case Part::kFrame:
      return TakeFrame(LittleEndian(part_bytes_, sizeof(uint64_t)));
  }
  CheckFailed(__FILE__, __LINE__, "part_");
}

absl::Status RecordScanner::TakeImageHeader() {
  if (LittleEndian(part_bytes_, 8) != kImageMarker || BigEndian(part_bytes_ + 8, 4) != kImageId) {
    return Malformed("no image header of a libxc stream");
  }
  const uint64_t version = BigEndian(part_bytes_ + 12, 4);
  if (version != kImageVersion) return Malformed(absl::StrCat("image version ", version, ", expected 3"));
  if (BigEndian(part_bytes_ + 16, 2) & kImageOptionBigEndian) return Malformed("a big-endian image");
  part_ = Part::kDomainHeader;
  return absl::OkStatus();
}

absl::Status RecordScanner::TakeDomainHeader() {
  const uint64_t type = LittleEndian(part_bytes_, 4);
  if (type != kDomainPv && type != kDomainHvm) return Malformed(absl::StrCat("unknown domain type ", type));
  const uint64_t shift = LittleEndian(part_bytes_ + 4, 2);
  if (shift != kPageShift) return Malformed(absl::StrCat("page shift ", shift, ", expected 12"));
  part_ = Part::kRecordHeader;
  return absl::OkStatus();
}

absl::Status RecordScanner::TakeRecordHeader() {
  record_type_ = static_cast<uint32_t>(LittleEndian(part_bytes_, 4));
  record_length_ = static_cast<uint32_t>(LittleEndian(part_bytes_ + 4, 4));
  const absl::Status placed = CheckPlace(record_type_);
  if (!placed.ok()) return placed;
  if (record_length_ > kRecordBytesMax) return Malformed("longer than 128 MiB");
  switch (record_type_) {
    case kPageData:
      if (record_length_ < sizeof(uint64_t)) return Malformed("too short for its page count");
      part_ = Part::kPageDataHeader;
      return absl::OkStatus();
    case kCheckpoint:
      if (record_length_ != 0) return Malformed("has a body, expected none");
      complete_ = true;
      return absl::OkStatus();
    case kStaticDataEnd:
      static_data_ended_ = true;
      break;
  }
  skip_ = (uint64_t{record_length_} + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment;
  return absl::OkStatus();
}

absl::Status RecordScanner::CheckPlace(uint32_t type) const {
  if (DescribesDomain(type)) {
    if (checkpoint_ == Checkpoint::kLater) return Malformed("belongs into the first checkpoint only");
    // The frame list comes after the static data, the others are the static data.
    if (static_data_ended_ && type != kPvP2mFrames) return Malformed("comes after STATIC_DATA_END");
    return absl::OkStatus();
  }
  if (type == kAttachments) {
    if (checkpoint_ == Checkpoint::kFirst || record_start_ != 0) return Malformed("begins a later checkpoint only");
    if (record_length_ > kAttachmentsBytesMax) return Malformed("longer than 1 MiB");
    return absl::OkStatus();
  }
  if (type != kPageData && type != kCheckpoint && !IsState(type)) return Malformed("has no place in a checkpoint");
  if (!static_data_ended_) return Malformed("comes before STATIC_DATA_END");
  return absl::OkStatus();
}

absl::Status RecordScanner::TakePageDataHeader() {
  frames_left_ = static_cast<uint32_t>(LittleEndian(part_bytes_, 4));
  const uint64_t body = record_length_ - sizeof(uint64_t);
  if (frames_left_ == 0) return Malformed("lists no page");
  if (body / sizeof(uint64_t) < frames_left_) {
    return Malformed(absl::StrCat("is too short for the ", frames_left_, " pages that it lists"));
  }
  page_bytes_left_ = body - uint64_t{frames_left_} * sizeof(uint64_t);
  record_pages_ = 0;
  part_ = Part::kFrame;
  return absl::OkStatus();
}

absl::Status RecordScanner::TakeFrames(absl::Span<const char>& bytes) {
  while (part_ == Part::kFrame && bytes.size() >= sizeof(uint64_t)) {
    uint64_t frame = 0;
    memcpy(&frame, bytes.data(), sizeof(frame));
    offset_ += sizeof(frame);
    bytes.remove_prefix(sizeof(frame));
    const absl::Status status = TakeFrame(le64toh(frame));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status RecordScanner::TakeFrame(uint64_t frame) {
  const unsigned type = static_cast<unsigned>(frame >> kFrameTypeShift);
  if ((type >= kFrameTypeUnusedFirst && type <= kFrameTypeUnusedLast) || (frame & kFrameReservedMask) != 0) {
    return Malformed(absl::StrCat("lists a frame of an unknown type: 0x", absl::Hex(frame)));
  }
  if (type < kFrameTypeBroken) {
    if (page_bytes_left_ < kPageBytes) return Malformed("is too short for the contents of its pages");
    page_bytes_left_ -= kPageBytes;
    ++record_pages_;
  }
  if (--frames_left_ > 0) return absl::OkStatus();
  if (page_bytes_left_ != 0) {
    return Malformed(absl::StrCat("is ", page_bytes_left_, " bytes longer than its pages"));
  }
  skip_ = record_pages_ * kPageBytes;
  page_count_ += record_pages_;
  part_ = Part::kRecordHeader;
  return absl::OkStatus();
}

absl::Status RecordScanner::Malformed(absl::string_view what) const {
  if (part_ == Part::kImageHeader || part_ == Part::kDomainHeader) {
    return absl::InvalidArgumentError(absl::StrCat("libxc stream header, at byte ", offset_, ": ", what));
  }
  return absl::InvalidArgumentError(absl::StrCat("libxc stream record ", RecordName(record_type_), " (length ",
                                                 record_length_, ") at byte ", record_start_, ": ", what));
}

}  // namespace romulus
