#ifndef ROMULUS_PRIMARY_CAPTURE_SEEDING_READER_H_
#define ROMULUS_PRIMARY_CAPTURE_SEEDING_READER_H_

#include <condition_variable>
#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "common/stream/checkpoint_reader.h"

namespace romulus {

// Checkpoint 1: the live first copy from a pipe, then (end of file is not its end) the tail that the helper staged
// while the guest was suspended. Read is for the link's thread, SetTail and Fail for the scheduler's.
class SeedingReader final : public CheckpointReader {
 public:
  // `pipe` is the read end; it is made non-blocking.
  static absl::StatusOr<std::shared_ptr<SeedingReader>> New(UniqueFd pipe);

  absl::StatusOr<size_t> Read(absl::Span<char> buffer) override;
  // Also closes the pipe: a helper that is blocked writing to it gets EPIPE. Does not wait for a Read.
  void Cancel() override;

  // The rest of the checkpoint.
  void SetTail(std::unique_ptr<CheckpointReader> tail);
  // There will be none. The first of SetTail, Fail and Cancel counts.
  void Fail(absl::Status status);

 private:
  SeedingReader(UniqueFd pipe, UniqueFd wake) : pipe_(std::move(pipe)), wake_(std::move(wake)) {}
  absl::StatusOr<size_t> ReadPipe(absl::Span<char> buffer);

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_; while in_pipe_, the pipe is closed by the reading thread only.
  UniqueFd pipe_;
  bool in_pipe_ = false;
  absl::Status ended_;
  std::unique_ptr<CheckpointReader> tail_;
  // Readable after Cancel: wakes a Read that waits for the pipe.
  const UniqueFd wake_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CAPTURE_SEEDING_READER_H_
