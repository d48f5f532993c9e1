#ifndef ROMULUS_COMMON_STREAM_MEMORY_CHECKPOINT_H_
#define ROMULUS_COMMON_STREAM_MEMORY_CHECKPOINT_H_

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>

#include "common/stream/checkpoint_reader.h"
#include "common/stream/checkpoint_sink.h"

namespace romulus {

// A checkpoint in a string, for tests; gives at most `piece` bytes at a time.
class MemoryCheckpointReader final : public CheckpointReader {
 public:
  explicit MemoryCheckpointReader(std::string bytes, size_t piece = 64 << 10, bool in_place = false)
      : bytes_(std::move(bytes)), piece_(piece), in_place_(in_place) {}

  absl::StatusOr<size_t> Read(absl::Span<char> buffer) override {
    const absl::StatusOr<absl::Span<const char>> bytes = Take(buffer.size());
    if (!bytes.ok()) return bytes.status();
    memcpy(buffer.data(), bytes->data(), bytes->size());
    return bytes->size();
  }
  bool in_place() const override { return in_place_; }
  absl::StatusOr<absl::Span<const char>> ReadInPlace(size_t max) override { return Take(max); }
  size_t bytes_left() const override { return bytes_.size() - offset_; }
  void Cancel() override { cancelled_ = true; }

 private:
  absl::StatusOr<absl::Span<const char>> Take(size_t max) {
    if (cancelled_) return absl::CancelledError("the reader was cancelled");
    const size_t count = std::min({max, piece_, bytes_.size() - offset_});
    offset_ += count;
    return absl::MakeConstSpan(bytes_.data() + offset_ - count, count);
  }

  const std::string bytes_;
  const size_t piece_;
  const bool in_place_;
  size_t offset_ = 0;
  std::atomic<bool> cancelled_ = false;
};

class MemoryCheckpointSink final : public CheckpointSink {
 public:
  absl::Status Write(absl::Span<const char> bytes) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    bytes_.append(bytes.data(), bytes.size());
    return status_;
  }
  std::string bytes() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return bytes_;
  }
  // What every later Write returns.
  void set_status(absl::Status status) {
    const std::lock_guard<std::mutex> lock(mutex_);
    status_ = std::move(status);
  }

 private:
  mutable std::mutex mutex_;
  std::string bytes_;
  absl::Status status_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_STREAM_MEMORY_CHECKPOINT_H_
