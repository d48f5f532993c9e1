#ifndef ROMULUS_COMMON_STREAM_CHECKPOINT_BYTES_H_
#define ROMULUS_COMMON_STREAM_CHECKPOINT_BYTES_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/stream/block_pool.h"

namespace romulus {

// A checkpoint's bytes as they are held from their arrival until the restore helper has them: in pieces, so that they
// never have to be moved to make room for more. Not thread safe.
class CheckpointBytes {
 public:
  using Pieces = absl::Span<const absl::Span<const char>>;

  // Nothing, and nothing can be appended.
  CheckpointBytes() = default;
  // Nothing yet.
  explicit CheckpointBytes(std::shared_ptr<BlockPool> pool) : pool_(std::move(pool)) {}
  // All of it, from elsewhere than a link.
  CheckpointBytes(std::string bytes);  // NOLINT: as good as the string.
  CheckpointBytes(CheckpointBytes&&) noexcept = default;
  CheckpointBytes& operator=(CheckpointBytes&&) noexcept = default;

  // Room at the end, at least `least` bytes (up to BlockPool::kBlockBytes): fill it from its beginning, then Extend.
  // RESOURCE_EXHAUSTED: there is no memory.
  absl::StatusOr<absl::Span<char>> Room(size_t least);
  // The first `count` bytes of what Room gave were filled.
  void Extend(size_t count);
  absl::Status Append(absl::Span<const char> bytes);
  // Without a copy: `bytes`, which stay as they are for as long as `holder` lives.
  void AppendHeld(absl::Span<const char> bytes, std::shared_ptr<const void> holder);

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // In order. Valid until the next change, also if this object is moved.
  Pieces pieces() const { return pieces_; }
  // A copy.
  std::string ToString() const;

 private:
  std::shared_ptr<BlockPool> pool_;
  std::unique_ptr<const std::string> given_;
  std::vector<BlockPool::Block> blocks_;
  std::vector<std::shared_ptr<const void>> holders_;  // Of what is in no block.
  std::vector<absl::Span<const char>> pieces_;
  size_t room_ = 0;  // At the last block's end.
  size_t size_ = 0;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_STREAM_CHECKPOINT_BYTES_H_
