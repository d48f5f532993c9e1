#ifndef ROMULUS_PRIMARY_SAVE_HELPER_SEEDING_PIPE_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_SEEDING_PIPE_H_

#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "primary/save_helper/stream_sink.h"

namespace romulus {

// The pipe that the live first copy goes through. Its reader is as fast as the network; whoever waits for it here goes
// on to listen to whoever may want this to end.
class SeedingPipe final : public StreamSink {
 public:
  // `wake`: descriptors that are readable when `stopped` has something new to say. `stopped` is called from Append;
  // once it has said true, Append is CANCELLED.
  static absl::StatusOr<SeedingPipe> New(UniqueFd write_end, std::vector<int> wake, std::function<bool()> stopped);

  // CANCELLED: `stopped`, or the reader has gone.
  absl::Status Append(absl::Span<const char> bytes) override;
  // What is left in here; before the pipe is closed.
  absl::Status Flush();

 private:
  SeedingPipe(UniqueFd write_end, std::vector<int> wake, std::function<bool()> stopped)
      : write_end_(std::move(write_end)), wake_(std::move(wake)), stopped_(std::move(stopped)) {}
  absl::Status Write(absl::Span<const char> bytes);

  UniqueFd write_end_;
  std::vector<int> wake_;
  std::function<bool()> stopped_;
  // Small pieces, until there is something to go with them: a record's header alone would cost a page of the pipe.
  std::vector<char> pending_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_SEEDING_PIPE_H_
