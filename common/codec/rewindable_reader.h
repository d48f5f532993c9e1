#ifndef ROMULUS_COMMON_CODEC_REWINDABLE_READER_H_
#define ROMULUS_COMMON_CODEC_REWINDABLE_READER_H_

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/stream/checkpoint_reader.h"

namespace romulus {

// A checkpoint that lies in memory can be read again: its reader says that what it gave stays where it is. As any
// reader, used by one thread at a time, but for Cancel.
class RewindableReader final : public CheckpointReader {
 public:
  explicit RewindableReader(std::shared_ptr<CheckpointReader> reader) : reader_(std::move(reader)) {}

  bool in_place() const override { return reader_->in_place(); }
  // If it is not in_place(), it can't be read again.
  absl::StatusOr<size_t> Read(absl::Span<char> buffer) override { return reader_->Read(buffer); }

  absl::StatusOr<absl::Span<const char>> ReadInPlace(size_t max) override {
    if (next_ < pieces_.size()) {
      const absl::Span<const char> piece = pieces_[next_].subspan(skip_, max);
      skip_ += piece.size();
      if (skip_ == pieces_[next_].size()) {
        ++next_;
        skip_ = 0;
      }
      return piece;
    }
    const absl::StatusOr<absl::Span<const char>> piece = reader_->ReadInPlace(max);
    if (piece.ok() && !piece->empty()) {
      pieces_.push_back(*piece);
      next_ = pieces_.size();
    }
    return piece;
  }

  size_t bytes_left() const override {
    size_t left = reader_->bytes_left();
    for (size_t i = next_; i < pieces_.size(); ++i) left += pieces_[i].size();
    return left - skip_;
  }

  void Rewind() {
    next_ = 0;
    skip_ = 0;
  }

  void Cancel() override { reader_->Cancel(); }

 private:
  const std::shared_ptr<CheckpointReader> reader_;
  std::vector<absl::Span<const char>> pieces_;  // All that was read.
  size_t next_ = 0;                             // In pieces_: what is read next.
  size_t skip_ = 0;                             // Of that one, read already.
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CODEC_REWINDABLE_READER_H_
