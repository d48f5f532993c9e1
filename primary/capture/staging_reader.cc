#include "primary/capture/staging_reader.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace romulus {

StagingReader::StagingReader(UniqueFd file, uint64_t length, std::function<void()> released)
    : file_(std::move(file)), length_(length), released_(std::move(released)) {}

StagingReader::~StagingReader() { released_(); }

absl::StatusOr<size_t> StagingReader::Read(absl::Span<char> buffer) {
  if (cancelled_) return absl::CancelledError("the checkpoint is not wanted any more");
  const size_t wanted = std::min<uint64_t>(buffer.size(), length_ - offset_);
  if (wanted == 0) return 0;
  ssize_t got;
  do {
    got = pread(file_.get(), buffer.data(), wanted, static_cast<off_t>(offset_));
  } while (got < 0 && errno == EINTR);
  if (got <= 0) {
    return absl::InternalError(absl::StrCat("can't read a staging file at ", offset_, " of ", length_,
                                            " bytes: ", got == 0 ? "it is shorter" : strerror(errno)));
  }
  offset_ += got;
  return static_cast<size_t>(got);
}

}  // namespace romulus
