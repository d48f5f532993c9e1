#ifndef ROMULUS_COMMON_STREAM_CHECKPOINT_ASSEMBLER_H_
#define ROMULUS_COMMON_STREAM_CHECKPOINT_ASSEMBLER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/stream/block_pool.h"
#include "common/stream/checkpoint_bytes.h"
#include "common/stream/checkpoint_sink.h"
#include "common/stream/record_scanner.h"
#include "common/stream/stream_digest.h"
#include "proto/replication/v1/replication.pb.h"

namespace romulus {

// The receiver's side: puts the checkpoints of one session together again and verifies them. Nothing that it returns
// is incomplete, out of order, or different from what was captured.
//
// Call order: SetSeedSink, then for each epoch n = 1, 2...: Add*, Finish, MarkCommitted(n).
// Checkpoint 1 flows through the sink as it comes, but for its CHECKPOINT record: without that one, libxc takes a copy
// for incomplete, whatever else it holds. Later checkpoints are kept here until they are whole.
//
// After any error the partial checkpoint is dropped and every later call returns that error. INVALID_ARGUMENT: the
// protocol or the stream's form is broken; DATA_LOSS: what came is not what the trailer says; RESOURCE_EXHAUSTED: there
// is no memory for it here; else: the sink's.
// Pure, apart from the sink. One thread at a time.
class CheckpointAssembler {
 public:
  struct Limits {
    uint64_t seed_bytes_max = 0;        // Checkpoint 1, all its live rounds; it is not kept here.
    uint64_t checkpoint_bytes_max = 0;  // Each later one. This object can come to hold it; twice that, with Hold.
    uint32_t chunk_bytes_max = 0;
  };
  // A checkpoint is at most every page once with its frame number, and the vCPUs; the first copy repeats pages that
  // are dirtied while it runs.
  static Limits LimitsFor(uint64_t memory_max_kib, uint32_t vcpu_count, uint32_t chunk_bytes_max);

  // What keeps one piece of a payload where it lies; null: it does not stay.
  using Hold = std::function<std::shared_ptr<const void>(size_t piece)>;
  // A piece that is smaller is copied all the same: what holds it may hold as much as gRPC reads at once (64 KiB), so
  // that a peer can make this host hold at most twice a checkpoint.
  static constexpr size_t kHeldBytesMin = 32 << 10;

  struct Verified {
    uint64_t epoch = 0;
    // The whole checkpoint; of checkpoint 1 the tail that the sink did not get.
    CheckpointBytes bytes;
  };

  // Checkpoints are held in blocks of `pool`; null: of a pool of its own.
  explicit CheckpointAssembler(Limits limits, std::shared_ptr<BlockPool> pool = nullptr);

  void SetSeedSink(std::shared_ptr<CheckpointSink> sink);
  // The next bytes of checkpoint `epoch`, decoded, from `offset` on: one message's, in the pieces in which they lie.
  // With `hold`, large pieces of later checkpoints stay there; all else is copied, once. Blocks in the sink while
  // checkpoint 1 comes.
  absl::Status Add(uint64_t epoch, uint64_t offset, CheckpointBytes::Pieces payload, const Hold& hold = nullptr);
  absl::Status Add(const replication::v1::CheckpointData& data);
  absl::StatusOr<Verified> Finish(const replication::v1::CheckpointTrailer& trailer);
  // Of the checkpoint that is being received.
  uint64_t epoch() const { return epoch_; }
  // Drops what has come of the checkpoint that is being received; it comes again from its beginning. Also after Finish
  // has returned DATA_LOSS. Not for checkpoint 1, of which a part has been passed on.
  void Restart();
  // CheckpointCommit(epoch) is about to be sent: before this, data of the next checkpoint is refused, so a peer can't
  // fill this host's memory with checkpoints that nobody has taken yet.
  void MarkCommitted(uint64_t epoch);

 private:
  absl::Status CheckEpoch(uint64_t epoch) const;
  absl::Status CheckData(uint64_t epoch, uint64_t offset, uint64_t size) const;
  absl::Status CheckTrailer(const replication::v1::CheckpointTrailer& trailer) const;
  absl::Status Check(absl::Span<const char> bytes);
  // Of one piece.
  absl::Status Take(absl::Span<const char> bytes, std::shared_ptr<const void> holder);
  absl::Status Copy(absl::Span<const char> bytes);
  absl::Status PassOn(absl::Span<const char> bytes);
  absl::Status Fail(absl::Status status);

  const Limits limits_;
  const std::shared_ptr<BlockPool> pool_;
  std::shared_ptr<CheckpointSink> sink_;
  uint64_t epoch_ = 1;  // Being received.
  uint64_t committed_ = 0;
  std::optional<RecordScanner> scanner_;
  std::optional<StreamDigest> digest_;
  // Epoch 1: what the sink has not got, from passed_on_ on.
  std::string tail_;
  uint64_t passed_on_ = 0;
  // Later ones: everything.
  CheckpointBytes held_;
  absl::Status failure_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_STREAM_CHECKPOINT_ASSEMBLER_H_
