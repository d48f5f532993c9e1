#include "common/attachments/attachments_record.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/stream/stream_format.h"

namespace romulus {
namespace {

// Fewer than `count`: there are no more.
std::string Copy(CheckpointBytes::Pieces pieces, size_t offset, size_t count) {
  std::string copied;
  for (absl::Span<const char> piece : pieces) {
    const size_t skipped = std::min(offset, piece.size());
    offset -= skipped;
    piece.remove_prefix(skipped);
    copied.append(piece.data(), std::min(piece.size(), count - copied.size()));
    if (copied.size() == count) break;
  }
  return copied;
}

}  // namespace

absl::StatusOr<AttachmentsRecord> FindAttachments(const CheckpointBytes& checkpoint) {
  using namespace stream_format;  // NOLINT: reads that format.
  AttachmentsRecord record;
  uint32_t header[2];
  static_assert(sizeof(header) == kRecordHeaderBytes);
  const std::string start = Copy(checkpoint.pieces(), 0, sizeof(header));
  if (start.size() < sizeof(header)) return record;
  memcpy(header, start.data(), sizeof(header));
  if (header[0] != kAttachments) return record;
  if (header[1] > kAttachmentsBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("a guest's attachments take ", header[1], " bytes"));
  }
  record.body = Copy(checkpoint.pieces(), sizeof(header), header[1]);
  record.length = sizeof(header) + (header[1] + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment;
  if (record.length > checkpoint.size()) {
    return absl::InvalidArgumentError("a guest's attachments do not end within its checkpoint");
  }
  return record;
}

std::vector<absl::Span<const char>> WithoutPrefix(CheckpointBytes::Pieces pieces, size_t length) {
  std::vector<absl::Span<const char>> rest;
  for (absl::Span<const char> piece : pieces) {
    const size_t skipped = std::min(length, piece.size());
    length -= skipped;
    piece.remove_prefix(skipped);
    if (!piece.empty()) rest.push_back(piece);
  }
  return rest;
}

}  // namespace romulus
