#ifndef ROMULUS_COMMON_CODEC_STREAM_UNITS_H_
#define ROMULUS_COMMON_CODEC_STREAM_UNITS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace romulus {

// Cuts a checkpoint's libxc v3 stream (common/stream/stream_format.h) into what the encoder treats alike. Whatever is
// not such a stream comes out as plain bytes: this never fails, and the units are always the stream. Pure.
class StreamUnits {
 public:
  enum class Kind {
    kBytes,   // Headers, small records: any number.
    kFrames,  // Frame numbers of PAGE_DATA: a multiple of 8 bytes.
    kPage,    // A page of the guest; key: its frame number.
    kState,   // At most 4096 bytes of another record; key: the same for the same piece of each checkpoint.
  };
  struct Unit {
    Kind kind = Kind::kBytes;
    uint64_t key = 0;
    absl::Span<const char> bytes;
  };

  // Of session's first checkpoint, which begins with headers, or of a later one.
  explicit StreamUnits(bool first_checkpoint);

  // How many bytes the next unit needs: at most 4096. Fewer are possible only at the stream's end.
  size_t needed() const;
  // Takes the next unit off the front of `bytes`, which has at least needed() bytes, or is the stream's end (not
  // empty).
  Unit Take(absl::Span<const char>* bytes);

 private:
  enum class Part { kHeaders, kRecordHeader, kPageDataHeader, kFrames, kPages, kBody, kOpaque };

  void TakeRecordHeader(const char* bytes);
  void TakePageDataHeader(const char* bytes);
  void TakeFrames(absl::Span<const char> frames);
  void EnterBody();

  Part part_;
  size_t left_;  // Of the part, in bytes.
  uint32_t record_type_ = 0;
  uint64_t body_left_ = 0;  // Of the record.
  uint32_t body_pieces_ = 0;
  std::vector<uint64_t> pages_;  // Frame numbers of the record that have contents.
  size_t next_page_ = 0;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CODEC_STREAM_UNITS_H_
