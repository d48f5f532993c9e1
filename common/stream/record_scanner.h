#ifndef ROMULUS_COMMON_STREAM_RECORD_SCANNER_H_
#define ROMULUS_COMMON_STREAM_RECORD_SCANNER_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace romulus {

// Follows the records of one checkpoint of a libxc v3 stream (stream_format.h) as its bytes pass, in pieces of any
// size, without keeping contents: constant memory. Says how many pages it carries and when it is whole.
//
// What it accepts is what libxc's restore can take at that place; anything else would fail it in the middle of
// applying, which for a checkpoint that was already acknowledged is too late:
//   first checkpoint   image and domain header, then records; STATIC_DATA_END once, before any PAGE_DATA
//   later checkpoints  records, none of the kinds that only describe the domain
//   each               ends with its one CHECKPOINT record; no END, no record of an unknown type
// Pure; not thread safe.
class RecordScanner {
 public:
  enum class Checkpoint { kFirst, kLater };

  explicit RecordScanner(Checkpoint checkpoint);

  // INVALID_ARGUMENT: not such a stream; names the offset, the record and what is wrong. Nothing may follow that.
  absl::Status Feed(absl::Span<const char> bytes);

  // The CHECKPOINT record was read to its end, and nothing after it.
  bool complete() const { return complete_; }
  // Bytes fed so far.
  uint64_t offset() const { return offset_; }
  // Bytes from the start that surely come before the CHECKPOINT record: less than offset() while a record's header is
  // incomplete (it might be that one) and once the checkpoint is complete.
  uint64_t offset_before_checkpoint_record() const;
  // Pages with contents.
  uint64_t page_count() const { return page_count_; }

 private:
  enum class Part { kImageHeader, kDomainHeader, kRecordHeader, kPageDataHeader, kFrame };

  size_t PartBytes() const;
  absl::Status TakePart();
  absl::Status TakeImageHeader();
  absl::Status TakeDomainHeader();
  absl::Status TakeRecordHeader();
  absl::Status TakePageDataHeader();
  // Of `bytes`, as many as are whole and of this record: most come so.
  absl::Status TakeFrames(absl::Span<const char>& bytes);
  absl::Status TakeFrame(uint64_t frame);
  absl::Status CheckPlace(uint32_t type) const;
  absl::Status Malformed(absl::string_view what) const;

  const Checkpoint checkpoint_;
  Part part_;
  unsigned char part_bytes_[24];
  size_t part_filled_ = 0;
  uint64_t skip_ = 0;  // Of the record's body, not looked at.
  uint64_t offset_ = 0;
  uint64_t record_start_ = 0;
  uint32_t record_type_ = 0;
  uint32_t record_length_ = 0;
  uint32_t frames_left_ = 0;
  uint64_t page_bytes_left_ = 0;  // Of the record's length, for contents; counted down by frames that have some.
  uint64_t record_pages_ = 0;
  uint64_t page_count_ = 0;
  bool static_data_ended_ = false;
  bool complete_ = false;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_STREAM_RECORD_SCANNER_H_
