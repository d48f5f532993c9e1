#ifndef ROMULUS_COMMON_CODEC_CHECKPOINT_ENCODER_H_
#define ROMULUS_COMMON_CODEC_CHECKPOINT_ENCODER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "common/codec/block_format.h"
#include "common/codec/compressor.h"
#include "common/codec/encoding_chooser.h"
#include "common/codec/encoding_counts.h"
#include "common/codec/growable_bytes.h"
#include "common/codec/page_delta.h"
#include "common/codec/page_index.h"
#include "common/codec/page_slots.h"
#include "common/codec/stream_units.h"

namespace romulus {

// A piece of a checkpoint on its way through the encoder. Made by Plan, worked on by Compress on any thread, and given
// to Finish.
class EncodingBatch {
 public:
  // After Compress: the block, for one CheckpointData.payload. Empty if the batch had no whole unit.
  absl::Span<const char> block() const { return block_.span(); }
  // What it decodes to.
  uint32_t raw_bytes() const { return raw_bytes_; }

 private:
  friend class CheckpointEncoder;
  struct StreamPlan {
    GrowableBytes bytes;
    EncodingChooser::Method method = EncodingChooser::Method::kRaw;
    uint64_t spent_ns = 0;
    size_t coded_bytes = 0;
    block_format::Encoding encoding = block_format::Encoding::kRaw;
  };
  std::array<StreamPlan, block_format::kStreams> streams_;
  GrowableBytes block_;
  uint32_t raw_bytes_ = 0;
  uint32_t cache_generation_ = 0;
  uint64_t spent_ns_ = 0;  // By Compress.
};

// Makes blocks (block_format.h) of the checkpoints of one session, in order, for a CheckpointDecoder that gets every
// one of them. Per page the cheapest of: a zero page, unchanged since last sent, a patch of what was last sent (both
// against a bounded cache of pages that the decoder has, too), a patch of zeros, or the page itself; what remains is
// compressed for a whole block at once, as EncodingChooser decides. No I/O, no threads, no clock but the one given.
//
// Any bytes can be encoded; those of a libxc v3 checkpoint become smaller.
//
// Call order for each checkpoint: BeginCheckpoint, then Plan for each piece, the last with `last`; Compress each batch;
// Finish each batch, in the order of Plan. Plan and Finish: one thread at a time. Compress: any thread, several at
// once, each with its own Compressor. Encode does all three. The input of Plan is not used after it: everything has
// been copied or encoded.
class CheckpointEncoder {
 public:
  struct Options {
    // Of contents of pages; 0: nothing is kept, and there are no patches but of zeros. At most what the decoder has.
    uint64_t cache_bytes_max = uint64_t{64} << 20;
    EncodingChooser::Options chooser;
    // Nanoseconds of processor time of the calling thread. By default CLOCK_THREAD_CPUTIME_ID.
    uint64_t (*cpu_time_ns)() = nullptr;
  };
  // What one Plan should be given: larger ones compress better, smaller ones leave sooner. At most kPieceBytesMax.
  static constexpr size_t kPieceBytes = size_t{1} << 20;
  static constexpr size_t kPieceBytesMax = block_format::kRawBytesMax - block_format::kUnitBytes;

  explicit CheckpointEncoder(Options options);

  // Whatever was planned of the checkpoint before must have been finished, or ResetCache must follow.
  // may_refer false: it can't be sent again (it flows on as it comes), and so is encoded without reference to the
  // cache, though it fills it. Checkpoint 1 always is.
  void BeginCheckpoint(uint64_t epoch, bool may_refer = true);

  // 1 to kPieceBytesMax bytes, or none with `last`. Up to 4095 bytes at the end may be held back for the next piece.
  std::unique_ptr<EncodingBatch> Plan(absl::Span<const char> piece, bool last);
  void Compress(EncodingBatch* batch, Compressor* compressor) const;
  // Counts, learns, and keeps the batch's memory for the next one.
  void Finish(std::unique_ptr<EncodingBatch> batch);

  // All three, on this thread: the block, valid until the next call. Empty: nothing to send yet.
  absl::Span<const char> Encode(absl::Span<const char> piece, bool last);

  // The decoder's cache is not as this one: from the next block on both start with an empty one. The checkpoint that is
  // under way can't be continued, only begun again.
  void ResetCache();

  void set_link_bytes_per_second(uint64_t value) { chooser_.set_link_bytes_per_second(value); }

  const EncodingCounts& counts() const { return counts_; }
  uint64_t cache_bytes() const { return slots_.memory_bytes(); }

 private:
  void PlanUnit(const StreamUnits::Unit& unit, EncodingBatch* batch);
  void PlanPage(uint64_t key, const char* page, EncodingBatch* batch);
  void PlanLiteral(uint64_t key, const char* page, EncodingBatch* batch);
  void PlanState(uint64_t key, absl::Span<const char> bytes, EncodingBatch* batch);
  void PlanFrames(absl::Span<const char> bytes, EncodingBatch* batch);
  void PlanBytes(absl::Span<const char> bytes, EncodingBatch* batch);
  // Instead of the page itself.
  bool PatchPays(const PageDifference& difference, const char* page) const;

  // One more `operation`; its operands follow.
  void AppendOperation(block_format::Operation operation, EncodingBatch* batch);
  // One with its own count.
  void AppendCounted(block_format::Operation operation, uint64_t count, EncodingBatch* batch);
  void AppendSlot(uint32_t slot, EncodingBatch* batch);
  // A slot for what is in none.
  std::optional<uint32_t> NewSlot(uint64_t key);
  std::unique_ptr<EncodingBatch> NewBatch();
  void Count(const EncodingBatch& batch);
  void Recycle(std::unique_ptr<EncodingBatch> batch);
  // The bytes behind the carried ones that complete the carried unit; true if it is complete.
  bool CompleteCarry(absl::Span<const char>* piece);

  const Options options_;
  EncodingChooser chooser_;
  PageSlots slots_;
  PageIndex index_;
  uint32_t cache_generation_ = 1;
  Compressor compressor_;  // Encode's.
  EncodingCounts counts_;

  // Of the checkpoint under way.
  bool first_ = false;
  bool may_refer_ = false;
  std::optional<StreamUnits> units_;
  GrowableBytes carry_;  // The beginning of a unit.

  // Of the batch under way.
  uint32_t last_slot_ = 0;
  uint64_t last_frame_ = 0;
  size_t run_at_ = 0;  // In kOperations: the operation that more of the same can be counted to.
  block_format::Operation run_operation_ = block_format::kOperationEnd;
  unsigned run_count_ = 0;

  std::vector<std::unique_ptr<EncodingBatch>> spare_;
  std::unique_ptr<EncodingBatch> encoded_;  // Encode's last.
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CODEC_CHECKPOINT_ENCODER_H_
