#ifndef ROMULUS_PRIMARY_SAVE_HELPER_STAGING_MEMORY_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_STAGING_MEMORY_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "primary/save_helper/stream_sink.h"

namespace romulus {

// One of the two memory files that checkpoints are staged in, mapped for writing. Nothing is written but to memory that
// the file has: it is reserved first, so that a host without memory refuses it (RESOURCE_EXHAUSTED) instead of killing
// this process at a write (SIGBUS). Reserved pages stay for the next checkpoint: a warm page is written five times as
// fast as a fresh one.
class StagingMemory final : public StreamSink {
 public:
  // `limit`: the file never grows beyond that. Only address space is taken for it.
  static absl::StatusOr<StagingMemory> New(UniqueFd file, size_t limit);
  StagingMemory(StagingMemory&& other) noexcept;
  StagingMemory& operator=(StagingMemory&&) = delete;
  ~StagingMemory() override;

  // For while the guest runs: room for `bytes`, with all pages in place.
  absl::Status Reserve(size_t bytes);
  // Gives memory beyond `bytes` back. Only while nobody reads the file.
  void Trim(size_t bytes);

  // A new checkpoint, from the file's start.
  void Rewind() { length_ = 0; }
  // Reserves what is missing, as a last resort.
  absl::Status Append(absl::Span<const char> bytes) override;
  size_t length() const { return length_; }
  // What was appended since Rewind.
  absl::Span<const char> contents() const { return absl::MakeConstSpan(start_, length_); }
  size_t reserved() const { return reserved_; }

 private:
  StagingMemory(UniqueFd file, char* start, size_t limit) : file_(std::move(file)), start_(start), limit_(limit) {}

  UniqueFd file_;
  char* start_;
  size_t limit_;
  size_t reserved_ = 0;
  size_t length_ = 0;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_STAGING_MEMORY_H_
