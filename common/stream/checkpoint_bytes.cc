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
  if (room_ < std::max<size_t>(least, 1)) {
    absl::StatusOr<BlockPool::Block> block = pool_->Take();
    if (!block.ok()) return block.status();
    blocks_.push_back(*std::move(block));
    room_ = BlockPool::kBlockBytes;
  }
  return absl::MakeSpan(blocks_.back().data() + BlockPool::kBlockBytes - room_, room_);
}

void CheckpointBytes::Extend(size_t count) {
  ROMULUS_CHECK(count <= room_);
  if (count == 0) return;
  const char* const start = blocks_.back().data() + BlockPool::kBlockBytes - room_;
  // Two blocks are two pieces, whether or not they lie side by side.
  if (room_ < BlockPool::kBlockBytes && pieces_.back().data() + pieces_.back().size() == start) {
    pieces_.back() = absl::MakeConstSpan(pieces_.back().data(), pieces_.back().size() + count);
  } else {
    pieces_.push_back(absl::MakeConstSpan(start, count));
  }
  room_ -= count;
  size_ += count;
}

void CheckpointBytes::AppendHeld(absl::Span<const char> bytes, std::shared_ptr<const void> holder) {
  pieces_.push_back(bytes);
  holders_.push_back(std::move(holder));
  size_ += bytes.size();
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
