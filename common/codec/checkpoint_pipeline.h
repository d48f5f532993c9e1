#ifndef ROMULUS_COMMON_CODEC_CHECKPOINT_PIPELINE_H_
#define ROMULUS_COMMON_CODEC_CHECKPOINT_PIPELINE_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

#include "absl/types/span.h"
#include "common/codec/checkpoint_encoder.h"
#include "common/codec/compressor.h"
#include "common/codec/encoding_counts.h"
#include "common/codec/encoding_pool.h"

namespace romulus {

// A session's encoder on the agent's pool: pieces in, blocks out, in order, with a bounded number between. Pieces are
// matched with the page cache one after the other and compressed side by side.
//
// Call order for each checkpoint: Begin, then Put for each piece, the last with `last`, and as many Next. All by one
// thread, but for counts and cache_bytes: any.
class CheckpointPipeline {
 public:
  // So many pieces are in it at most: what it holds of a checkpoint.
  static constexpr size_t kDepth = 4;
  // Of every checkpoint, so many are not the pool's.
  static constexpr size_t kPiecesHere = 4;

  // `pool` outlives this.
  CheckpointPipeline(EncodingPool* pool, CheckpointEncoder::Options options);

  // Drops what was not taken of the checkpoint before. may_refer false: see CheckpointEncoder::BeginCheckpoint.
  void Begin(uint64_t epoch, bool may_refer);
  // `piece` stays as it is until its block has come from Next, or Drop or the destructor has returned.
  // Not while full(). The first kPiecesHere are encoded at once, on this thread, and taken one by one: handing them over
  // and waiting for them would cost the host more than a small checkpoint's encoding.
  void Put(absl::Span<const char> piece, bool last);
  bool full() const { return jobs_.size() >= (pieces_ > kPiecesHere ? kDepth : 1); }
  bool empty() const { return jobs_.empty(); }
  // Waits for the block of the oldest piece, and gives it to `take` (an empty one: nothing to send yet), with what it
  // decodes to. Not while empty().
  void Next(const std::function<void(absl::Span<const char> block, uint32_t raw_bytes)>& take);

  // Waits for what is in it, and drops it.
  void Drop();
  // As CheckpointEncoder::ResetCache; Begin follows.
  void ResetCache();
  void set_link_bytes_per_second(uint64_t value);

  // As of the last block that was taken.
  EncodingCounts counts() const;
  uint64_t cache_bytes() const;

 private:
  struct Job {
    absl::Span<const char> piece;
    bool last = false;
    std::unique_ptr<EncodingBatch> batch;
    bool done = false;  // Guarded by mutex_.
  };

  void Plan(Job* job);

  std::mutex encoder_mutex_;  // Plan and Finish, one at a time.
  CheckpointEncoder encoder_;
  mutable std::mutex mutex_;  // Held for no longer than it takes to copy what it guards.
  std::condition_variable done_;
  EncodingCounts counts_;  // Guarded by mutex_.
  uint64_t cache_bytes_ = 0;
  std::deque<std::shared_ptr<Job>> jobs_;
  size_t pieces_ = 0;      // That were put of the present checkpoint.
  Compressor compressor_;  // For the first ones.
  // Last: its destructor waits for tasks that use all of the above.
  EncodingPool::Lane lane_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CODEC_CHECKPOINT_PIPELINE_H_
