#include "tests/faults/release_early_egress_buffer.h"

#include <utility>

namespace romulus {

ReleaseEarlyEgressBuffer::ReleaseEarlyEgressBuffer(std::unique_ptr<EgressBuffer> buffer) : buffer_(std::move(buffer)) {}

absl::Status ReleaseEarlyEgressBuffer::Attach() { return buffer_->Attach(); }
bool ReleaseEarlyEgressBuffer::adopted() const { return buffer_->adopted(); }

absl::Status ReleaseEarlyEgressBuffer::OpenEpoch() {
  absl::Status status = buffer_->OpenEpoch();
  if (!status.ok()) return status;
  return buffer_->ReleaseEpoch();
}

absl::Status ReleaseEarlyEgressBuffer::ReleaseEpoch() { return absl::OkStatus(); }

absl::Status ReleaseEarlyEgressBuffer::PassThrough() { return buffer_->PassThrough(); }
absl::Status ReleaseEarlyEgressBuffer::Discard() { return buffer_->Discard(); }
absl::Status ReleaseEarlyEgressBuffer::Detach() { return buffer_->Detach(); }
absl::Status ReleaseEarlyEgressBuffer::ReadStatistics(Statistics& statistics) {
  return buffer_->ReadStatistics(statistics);
}
std::vector<std::string> ReleaseEarlyEgressBuffer::devices() const { return buffer_->devices(); }

}  // namespace romulus
