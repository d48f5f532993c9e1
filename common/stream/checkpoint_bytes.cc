#include "common/stream/checkpoint_bytes.h"

#include <string.h>

#include <algorithm>
#include <utility>

#include "common/base/log.h"

namespace romulus {

CheckpointBytes::CheckpointBytes(std::string bytes)
    : given_(std::make_unique<const std::string>(std::move(bytes))), size_(given_->size()) {
  if (!given_->empty()) pieces_.push_back(absl::MakeConstSpan(given_->data(), given_->size()));
}

absl::StatusOr<absl::Span<char>> CheckpointBytes::Room(size_t least) {
  ROMULUS_CHECK(pool_ != nullptr && least <= BlockPool::kBlockBytes);
  if (blocks_.empty() || BlockPool::kBlockBytes - pieces_.back().size() < std::max<size_t>(least, 1)) {
    absl::StatusOr<BlockPool::Block> block = pool_->Take();
    if (!block.ok()) return block.status();
    pieces_.push_back(absl::MakeConstSpan(block->data(), 0));
    blocks_.push_back(*std::move(block));
  }
  const size_t filled = pieces_.back().size();
  return absl::MakeSpan(blocks_.back().data() + filled, BlockPool::kBlockBytes - filled);
}

void CheckpointBytes::Extend(size_t count) {
  absl::Span<const char>& last = pieces_.back();
  ROMULUS_CHECK(count <= BlockPool::kBlockBytes - last.size());
  last = absl::MakeConstSpan(last.data(), last.size() + count);
  size_ += count;
}

absl::Status CheckpointBytes::Append(absl::Span<const char> bytes) {
  while (!bytes.empty()) {
    const absl::StatusOr<absl::Span<char>> room = Room(1);
    if (!room.ok()) return room.status();
    const size_t count = std::min(room->size(), bytes.size());
    memcpy(room->data(), bytes.data(), count);
    Extend(count);
    bytes.remove_prefix(count);
  }
  return absl::OkStatus();
}

std::string CheckpointBytes::ToString() const {
  std::string all;
  all.reserve(size_);
  for (const absl::Span<const char> piece : pieces_) all.append(piece.data(), piece.size());
  return all;
}

}  // namespace romulus
