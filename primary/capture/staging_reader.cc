#include "primary/capture/staging_reader.h"

#include <string.h>

#include <utility>

namespace romulus {

StagingReader::StagingReader(std::shared_ptr<const absl::Span<const char>> bytes, std::function<void()> released)
    : bytes_(std::move(bytes)), released_(std::move(released)) {}

StagingReader::~StagingReader() { released_(); }

absl::StatusOr<size_t> StagingReader::Read(absl::Span<char> buffer) {
  const absl::StatusOr<absl::Span<const char>> bytes = ReadInPlace(buffer.size());
  if (!bytes.ok()) return bytes.status();
  if (!bytes->empty()) memcpy(buffer.data(), bytes->data(), bytes->size());
  return bytes->size();
}

absl::StatusOr<absl::Span<const char>> StagingReader::ReadInPlace(size_t max) {
  if (cancelled_) return absl::CancelledError("the checkpoint is not wanted any more");
  const absl::Span<const char> bytes = bytes_->subspan(offset_, max);
  offset_ += bytes.size();
  return bytes;
}

}  // namespace romulus
