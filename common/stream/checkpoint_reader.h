#ifndef ROMULUS_COMMON_STREAM_CHECKPOINT_READER_H_
#define ROMULUS_COMMON_STREAM_CHECKPOINT_READER_H_

#include <cstddef>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace romulus {

// The bytes of one checkpoint, once, in order, as libxc wrote them. Used by one thread at a time (the link's
// sender; one that is in_place() also by the scheduler's thread and the one that serves gRPC).
class CheckpointReader {
 public:
  virtual ~CheckpointReader() = default;

  // Fills up to buffer.size() bytes; may block until there are some. 0: the checkpoint is complete.
  // An error (the helper has died, Cancel was called): it never will be.
  virtual absl::StatusOr<size_t> Read(absl::Span<char> buffer) = 0;

  // As Read, but without a copy: up to `max` of the bytes, where they lie. They stay there, unchanged, until the reader
  // is destroyed. A reader whose bytes come from elsewhere (a pipe) can't: in_place() is false, and it has Read only.
  virtual bool in_place() const { return false; }
  virtual absl::StatusOr<absl::Span<const char>> ReadInPlace(size_t /*max*/) {
    return absl::UnimplementedError("this checkpoint does not lie in memory");
  }
  // What ReadInPlace has yet to give.
  virtual size_t bytes_left() const { return 0; }

  // Ends a Read that is blocked, and all later ones, with CANCELLED. Thread safe.
  virtual void Cancel() = 0;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_STREAM_CHECKPOINT_READER_H_
