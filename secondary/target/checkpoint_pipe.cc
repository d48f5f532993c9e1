#include "secondary/target/checkpoint_pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"

namespace romulus {

namespace {
// Fewer wake-ups of both sides; the system's default limit for a pipe of a user without privileges.
constexpr int kPipeBytes = 1 << 20;
// More than the pipe holds.
constexpr size_t kPiecesPerWrite = 16;
}  // namespace

absl::StatusOr<CheckpointPipe::Ends> CheckpointPipe::New() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return absl::InternalError(absl::StrCat("can't make a pipe: ", strerror(errno), " (errno ", errno, ")"));
  }
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  UniqueFd cancelled(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  // Only this end: libxc needs its own to block.
  if (!cancelled.valid() || fcntl(writer.get(), F_SETFL, O_NONBLOCK) != 0) {
    return absl::InternalError(absl::StrCat("can't prepare a pipe: ", strerror(errno), " (errno ", errno, ")"));
  }
  // Refused only where many pipes are big already; then it is merely slower.
  fcntl(writer.get(), F_SETPIPE_SZ, kPipeBytes);
  return Ends{std::shared_ptr<CheckpointPipe>(new CheckpointPipe(std::move(writer), std::move(cancelled))),
              std::move(reader)};
}

absl::Status CheckpointPipe::Write(CheckpointBytes::Pieces pieces) {
  if (pieces.empty()) return absl::OkStatus();
  size_t written_of_first = 0;
  while (true) {
    pollfd events[2] = {{cancelled_.get(), POLLIN, 0}, {pipe_.get(), POLLOUT, 0}};
    if (poll(events, 2, -1) < 0 && errno != EINTR) {
      return absl::InternalError(absl::StrCat("can't wait for the restore helper's pipe (errno ", errno, ")"));
    }
    if (events[0].revents != 0) return absl::CancelledError("the standby is being discarded");
    iovec parts[kPiecesPerWrite];
    const size_t count = std::min(pieces.size(), kPiecesPerWrite);
    for (size_t i = 0; i < count; ++i) parts[i] = {const_cast<char*>(pieces[i].data()), pieces[i].size()};
    parts[0].iov_base = static_cast<char*>(parts[0].iov_base) + written_of_first;
    parts[0].iov_len -= written_of_first;
    const ssize_t written = writev(pipe_.get(), parts, static_cast<int>(count));
    if (written >= 0) {
      written_of_first += written;
      while (!pieces.empty() && written_of_first >= pieces[0].size()) {
        written_of_first -= pieces[0].size();
        pieces.remove_prefix(1);
      }
      if (pieces.empty()) return absl::OkStatus();
    } else if (errno == EPIPE) {
      return absl::UnavailableError("the restore helper has stopped reading checkpoints");
    } else if (errno != EAGAIN && errno != EINTR) {
      return absl::InternalError(
          absl::StrCat("can't write to the restore helper: ", strerror(errno), " (errno ", errno, ")"));
    }
  }
}

void CheckpointPipe::Cancel() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(cancelled_.get(), &one, sizeof(one));
}

}  // namespace romulus
