#ifndef ROMULUS_SECONDARY_TARGET_CHECKPOINT_PIPE_H_
#define ROMULUS_SECONDARY_TARGET_CHECKPOINT_PIPE_H_

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/unique_fd.h"
#include "common/stream/checkpoint_bytes.h"
#include "common/stream/checkpoint_sink.h"

namespace romulus {

// The write end of the pipe that the restore helper reads. Write is for one thread at a time: the link's receiver while
// the first copy comes, the target's worker afterwards. SIGPIPE has to be ignored in the process.
class CheckpointPipe final : public CheckpointSink {
 public:
  struct Ends {
    std::shared_ptr<CheckpointPipe> writer;
    UniqueFd reader;  // Blocking, close-on-exec.
  };
  static absl::StatusOr<Ends> New();

  // All or an error: UNAVAILABLE, the reader is gone; CANCELLED, after Cancel. Blocks while the reader is busy.
  absl::Status Write(absl::Span<const char> bytes) override { return Write(CheckpointBytes::Pieces({bytes})); }
  absl::Status Write(CheckpointBytes::Pieces pieces);

  // Ends a Write that is blocked, and all later ones. Thread safe.
  void Cancel();

  // The reader sees the end of the stream, and takes what it has for all: only after complete checkpoints.
  // Not together with Write.
  void Close() { pipe_.Reset(); }

 private:
  CheckpointPipe(UniqueFd pipe, UniqueFd cancelled) : pipe_(std::move(pipe)), cancelled_(std::move(cancelled)) {}

  UniqueFd pipe_;
  UniqueFd cancelled_;
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_CHECKPOINT_PIPE_H_
