#include "primary/capture/seeding_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"

namespace romulus {

absl::StatusOr<std::shared_ptr<SeedingReader>> SeedingReader::New(UniqueFd pipe) {
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid() || fcntl(pipe.get(), F_SETFL, O_NONBLOCK) != 0) {
    return absl::ResourceExhaustedError(absl::StrCat("can't prepare the seeding pipe: ", strerror(errno)));
  }
  return std::shared_ptr<SeedingReader>(new SeedingReader(std::move(pipe), std::move(wake)));
}

absl::StatusOr<size_t> SeedingReader::Read(absl::Span<char> buffer) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!ended_.ok()) return ended_;
  if (pipe_.valid()) {
    in_pipe_ = true;
    lock.unlock();
    absl::StatusOr<size_t> got = ReadPipe(buffer);
    lock.lock();
    in_pipe_ = false;
    if (!ended_.ok() || !got.ok() || *got == 0) pipe_.Reset();
    if (absl::IsCancelled(ended_)) return ended_;
    if (!got.ok()) {
      if (ended_.ok()) ended_ = got.status();
      return got;
    }
    if (*got > 0) return got;
  }
  changed_.wait(lock, [this] { return tail_ != nullptr || !ended_.ok(); });
  if (!ended_.ok()) return ended_;
  CheckpointReader& tail = *tail_;
  lock.unlock();
  // A tail is memory: it does not block, and nobody takes it away.
  return tail.Read(buffer);
}

absl::StatusOr<size_t> SeedingReader::ReadPipe(absl::Span<char> buffer) {
  while (true) {
    const ssize_t got = read(pipe_.get(), buffer.data(), buffer.size());
    if (got >= 0) return static_cast<size_t>(got);
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return absl::InternalError(absl::StrCat("can't read the seeding pipe: ", strerror(errno)));
    pollfd events[2] = {{pipe_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    if (poll(events, 2, -1) > 0 && events[1].revents != 0) return absl::CancelledError("seeding was cancelled");
  }
}

void SeedingReader::Cancel() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (ended_.ok()) ended_ = absl::CancelledError("seeding was cancelled");
  if (!in_pipe_) pipe_.Reset();
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof(one));
  changed_.notify_all();
}

void SeedingReader::SetTail(std::unique_ptr<CheckpointReader> tail) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!ended_.ok() || tail_ != nullptr) return;
  tail_ = std::move(tail);
  changed_.notify_all();
}

void SeedingReader::Fail(absl::Status status) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!ended_.ok() || tail_ != nullptr) return;
  ended_ = std::move(status);
  changed_.notify_all();
}

}  // namespace romulus
