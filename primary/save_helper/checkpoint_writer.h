#ifndef ROMULUS_PRIMARY_SAVE_HELPER_CHECKPOINT_WRITER_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_CHECKPOINT_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/stream/stream_format.h"
#include "primary/save_helper/frame_map.h"
#include "primary/save_helper/stream_sink.h"

namespace romulus {

// An entry of a PAGE_DATA record: a frame's number and its type (stream_format.h).
inline uint64_t FrameOfEntry(uint64_t entry) { return entry & ((uint64_t{1} << 52) - 1); }
inline bool EntryHasContents(uint64_t entry) {
  return entry >> stream_format::kFrameTypeShift < stream_format::kFrameTypeBroken;
}

// Writes the records of a libxc v3 stream of a PVH or HVM guest, as xc_domain_restore (Xen 4.17) reads them:
//   once             Headers, the policies as Records, STATIC_DATA_END
//   each checkpoint  Pages*, then TSC_INFO, HVM_CONTEXT, HVM_PARAMS, then EndCheckpoint
// Source: Xen's docs/specs/libxc-migration-stream.pandoc. Allocates nothing but in its constructor. Pure, apart from
// the sink, whose errors it returns.
class CheckpointWriter {
 public:
  // Page entries in one record; what libxc's own save writes, and so what its restore is tried with.
  static constexpr size_t kPagesInRecordMax = 1024;

  // What each page takes beyond its contents, and what the record around up to kPagesInRecordMax of them takes.
  static constexpr size_t kEntryBytes = sizeof(uint64_t);
  static constexpr size_t kPageDataOverhead = stream_format::kRecordHeaderBytes + 8;

  struct TscInfo {
    uint32_t mode = 0;
    uint32_t khz = 0;
    uint64_t nsec = 0;
    uint32_t incarnation = 0;
  };
  struct HvmParam {
    uint64_t index = 0;
    uint64_t value = 0;
  };

  // `sink` outlives it.
  explicit CheckpointWriter(StreamSink& sink);

  // Counts from zero again.
  void Restart() { page_count_ = length_ = 0; }

  absl::Status Headers(uint32_t xen_major, uint32_t xen_minor);
  // Padded to 8 bytes.
  absl::Status Record(uint32_t type, absl::Span<const char> body);
  // One record of at most kPagesInRecordMax entries. Every entry with contents is in `frames`; the others have none.
  absl::Status Pages(absl::Span<const uint64_t> entries, const FrameMap& frames);
  absl::Status Tsc(const TscInfo& tsc);
  // Those with a value; no record if none has one.
  absl::Status HvmParams(absl::Span<const HvmParam> params);
  absl::Status EndCheckpoint() { return Record(stream_format::kCheckpoint, {}); }

  // Pages with contents written since Restart.
  uint64_t page_count() const { return page_count_; }
  // Bytes written since Restart.
  uint64_t length() const { return length_; }

 private:
  absl::Status Append(absl::Span<const char> bytes);

  StreamSink& sink_;
  std::vector<char> scratch_;
  uint64_t page_count_ = 0;
  uint64_t length_ = 0;
};

// Reads back what a CheckpointWriter wrote without Headers: each entry of its PAGE_DATA records, with its page (null:
// it has no contents).
void ForEachWrittenPage(absl::Span<const char> records,
                        absl::FunctionRef<void(uint64_t entry, const char* page)> on_page);

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_CHECKPOINT_WRITER_H_
