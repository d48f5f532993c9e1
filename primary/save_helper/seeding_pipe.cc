#include "primary/save_helper/seeding_pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

constexpr size_t kSmall = 64 << 10;

}  // namespace

absl::StatusOr<SeedingPipe> SeedingPipe::New(UniqueFd write_end, std::vector<int> wake, std::function<bool()> stopped) {
  if (fcntl(write_end.get(), F_SETFL, O_NONBLOCK) != 0) {
    return absl::InternalError(absl::StrCat("can't prepare the seeding pipe: ", strerror(errno)));
  }
  return SeedingPipe(std::move(write_end), std::move(wake), std::move(stopped));
}

absl::Status SeedingPipe::Append(absl::Span<const char> bytes) {
  if (pending_.size() + bytes.size() <= kSmall) {
    pending_.insert(pending_.end(), bytes.begin(), bytes.end());
    return absl::OkStatus();
  }
  return Write(bytes);
}

absl::Status SeedingPipe::Flush() { return pending_.empty() ? absl::OkStatus() : Write({}); }

absl::Status SeedingPipe::Write(absl::Span<const char> bytes) {
  iovec parts[2] = {{pending_.data(), pending_.size()}, {const_cast<char*>(bytes.data()), bytes.size()}};
  size_t left = pending_.size() + bytes.size();
  while (left > 0) {
    const ssize_t written = writev(write_end_.get(), parts, 2);
    if (written < 0) {
      if (errno == EINTR) continue;
      if (errno == EPIPE) return absl::CancelledError("the first copy is not wanted any more");
      if (errno != EAGAIN) return absl::InternalError(absl::StrCat("can't write the first copy: ", strerror(errno)));
      if (stopped_()) return absl::CancelledError("the first copy was stopped");
      std::vector<pollfd> events = {{write_end_.get(), POLLOUT, 0}};
      for (const int descriptor : wake_) events.push_back({descriptor, POLLIN, 0});
      (void)poll(events.data(), events.size(), -1);
      continue;
    }
    left -= static_cast<size_t>(written);
    size_t skip = static_cast<size_t>(written);
    for (iovec& part : parts) {
      const size_t here = std::min(skip, part.iov_len);
      part.iov_base = static_cast<char*>(part.iov_base) + here;
      part.iov_len -= here;
      skip -= here;
    }
  }
  pending_.clear();
  return absl::OkStatus();
}

}  // namespace romulus
