#include "primary/save_helper/staging_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

constexpr size_t kPage = 4096;
// The file grows in steps: a call for each checkpoint that is a little larger would be one too many.
constexpr size_t kStep = size_t{1} << 20;

// What the host needs for itself.
constexpr size_t kLeftToTheHost = size_t{32} << 20;

// Of the host, in bytes: the kernel's estimate of what can be had without swapping. Asking for more would not fail, but
// have the kernel kill somebody.
size_t AvailableMemory() {
  char text[256] = {};
  const UniqueFd file(open("/proc/meminfo", O_RDONLY | O_CLOEXEC));
  if (!file.valid() || read(file.get(), text, sizeof(text) - 1) <= 0) return std::numeric_limits<size_t>::max();
  const char* const line = strstr(text, "MemAvailable:");
  if (line == nullptr) return std::numeric_limits<size_t>::max();
  return strtoull(line + strlen("MemAvailable:"), nullptr, 10) * 1024;
}

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
  const size_t available = AvailableMemory();
  if (available < wanted - reserved_ + kLeftToTheHost) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "to stage a checkpoint of ", bytes, " bytes takes ", wanted - reserved_, " bytes more memory; this host has ",
        available, " and needs some of it for itself. Give dom0 more, or the guest less"));
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
