#ifndef ROMULUS_COMMON_ATTACHMENTS_ATTACHMENTS_RECORD_H_
#define ROMULUS_COMMON_ATTACHMENTS_ATTACHMENTS_RECORD_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/stream/checkpoint_bytes.h"

namespace romulus {

// A guest's attachments (proto/replication/v1/attachments.proto) travel within its checkpoint, so that they are
// committed with it: as its first record, of a type that is Romulus' own (stream_format::kAttachments), zero padded to
// 8 bytes as every record. libxc's restore ends at records that it does not know, so the target takes it out again.
struct AttachmentsRecord {
  // A serialized GuestAttachments; empty: the checkpoint begins with another record.
  std::string body;
  // How much of the checkpoint it takes; what libxc is to see follows.
  size_t length = 0;
};

// INVALID_ARGUMENT: the record is longer than the checkpoint, or than stream_format::kAttachmentsBytesMax.
absl::StatusOr<AttachmentsRecord> FindAttachments(const CheckpointBytes& checkpoint);

// `pieces` without their first `length` bytes.
std::vector<absl::Span<const char>> WithoutPrefix(CheckpointBytes::Pieces pieces, size_t length);

}  // namespace romulus

#endif  // ROMULUS_COMMON_ATTACHMENTS_ATTACHMENTS_RECORD_H_
