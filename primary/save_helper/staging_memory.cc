#include "primary/save_helper/staging_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

constexpr size_t kPage = 4096;
// The file grows in steps: a call for each checkpoint that is a little larger would be one too many.
constexpr size_t kStep = size_t{1} << 20;

}  // namespace

absl::StatusOr<StagingMemory> StagingMemory::New(UniqueFd file, size_t limit) {
  limit = (limit + kStep - 1) / kStep * kStep;
  void* const start = mmap(nullptr, limit, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file.get(), 0);
  if (start == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("can't map a staging file of up to ", limit, " bytes: ", strerror(errno)));
  }
  return StagingMemory(std::move(file), static_cast<char*>(start), limit);
}

StagingMemory::StagingMemory(StagingMemory&& other) noexcept
    : file_(std::move(other.file_)),
      start_(std::exchange(other.start_, nullptr)),
      limit_(other.limit_),
      reserved_(other.reserved_),
      length_(other.length_) {}

StagingMemory::~StagingMemory() {
  if (start_ != nullptr) munmap(start_, limit_);
}

absl::Status StagingMemory::Reserve(size_t bytes) {
  if (bytes <= reserved_) return absl::OkStatus();
  const size_t wanted = std::min(limit_, (bytes + kStep - 1) / kStep * kStep);
  if (bytes > limit_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a checkpoint of ", bytes, " bytes and more: its staging file takes ", limit_));
  }
  int result = 0;
  do {
    result = fallocate(file_.get(), 0, static_cast<off_t>(reserved_), static_cast<off_t>(wanted - reserved_));
  } while (result != 0 && errno == EINTR);
  if (result != 0) {
    return absl::ResourceExhaustedError(absl::StrCat("this host has no memory to stage a checkpoint of ", bytes,
                                                     " bytes: ", strerror(errno), " (errno ", errno, ")"));
  }
  // The pages are there; put them into this process' map now, rather than one by one when they are written.
  if (madvise(start_ + reserved_, wanted - reserved_, MADV_POPULATE_WRITE) != 0) {
    for (size_t offset = reserved_; offset < wanted; offset += kPage) {
      *const_cast<volatile char*>(start_ + offset) = 0;  // Kernels before 5.14.
    }
  }
  reserved_ = wanted;
  return absl::OkStatus();
}

void StagingMemory::Trim(size_t bytes) {
  const size_t kept = std::min(reserved_, (bytes + kStep - 1) / kStep * kStep);
  if (kept == reserved_) return;
  // The file keeps its size, as its reader may count on; only its pages go. A failure costs memory, nothing else.
  if (fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(kept),
                static_cast<off_t>(reserved_ - kept)) == 0) {
    reserved_ = kept;
  }
}

absl::Status StagingMemory::Append(absl::Span<const char> bytes) {
  if (length_ + bytes.size() > reserved_) {
    // An eighth more: not once for each page of a checkpoint that was not foreseen.
    absl::Status status = Reserve(std::min(limit_, length_ + length_ / 8 + bytes.size()));
    if (status.ok()) status = Reserve(length_ + bytes.size());
    if (!status.ok()) return status;
  }
  memcpy(start_ + length_, bytes.data(), bytes.size());
  length_ += bytes.size();
  return absl::OkStatus();
}

}  // namespace romulus
