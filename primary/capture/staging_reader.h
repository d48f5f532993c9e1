#ifndef ROMULUS_PRIMARY_CAPTURE_STAGING_READER_H_
#define ROMULUS_PRIMARY_CAPTURE_STAGING_READER_H_

#include <atomic>
#include <cstdint>
#include <functional>

#include "common/base/unique_fd.h"
#include "common/stream/checkpoint_reader.h"

namespace romulus {

// Reads a checkpoint of `length` bytes from a staging file, whose file offset it leaves alone (the save helper shares
// it). When it is destroyed, on whatever thread, it says so: the file may be written again.
class StagingReader final : public CheckpointReader {
 public:
  // `file` is a descriptor of its own.
  StagingReader(UniqueFd file, uint64_t length, std::function<void()> released);
  ~StagingReader() override;

  absl::StatusOr<size_t> Read(absl::Span<char> buffer) override;
  void Cancel() override { cancelled_ = true; }

 private:
  const UniqueFd file_;
  const uint64_t length_;
  const std::function<void()> released_;
  uint64_t offset_ = 0;
  std::atomic<bool> cancelled_{false};
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CAPTURE_STAGING_READER_H_
