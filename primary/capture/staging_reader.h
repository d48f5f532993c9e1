#ifndef ROMULUS_PRIMARY_CAPTURE_STAGING_READER_H_
#define ROMULUS_PRIMARY_CAPTURE_STAGING_READER_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>

#include "common/stream/checkpoint_reader.h"

namespace romulus {

// Reads a checkpoint where it was staged (StagingFile::View). When it is destroyed, on whatever thread, it says so: the
// file may be written again.
class StagingReader final : public CheckpointReader {
 public:
  StagingReader(std::shared_ptr<const absl::Span<const char>> bytes, std::function<void()> released);
  ~StagingReader() override;

  absl::StatusOr<size_t> Read(absl::Span<char> buffer) override;
  bool in_place() const override { return true; }
  absl::StatusOr<absl::Span<const char>> ReadInPlace(size_t max) override;
  size_t bytes_left() const override { return bytes_->size() - offset_; }
  void Cancel() override { cancelled_ = true; }

 private:
  const std::shared_ptr<const absl::Span<const char>> bytes_;
  const std::function<void()> released_;
  size_t offset_ = 0;
  std::atomic<bool> cancelled_{false};
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CAPTURE_STAGING_READER_H_
