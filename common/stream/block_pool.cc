#include "common/stream/block_pool.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus {

BlockPool::~BlockPool() {
  ROMULUS_CHECK(used_ == 0);
  UnmapLocked(free_.size());
}

absl::StatusOr<BlockPool::Block> BlockPool::Take() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++used_;
    if (!free_.empty()) {
      char* const data = free_.back();
      free_.pop_back();
      free_least_ = std::min(free_least_, free_.size());
      return Block(data, shared_from_this());
    }
    free_least_ = 0;
  }
  void* const data =
      mmap(nullptr, kBlockBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (data == MAP_FAILED) {
    const int error = errno;
    const std::lock_guard<std::mutex> lock(mutex_);
    --used_;
    return absl::ResourceExhaustedError(absl::StrCat("no memory for a checkpoint, ", used_,
                                                     " KiB are in use for others: ", strerror(error), " (errno ", error,
                                                     ")"));
  }
  return Block(static_cast<char*>(data), shared_from_this());
}

void BlockPool::Return(char* data) {
  const std::lock_guard<std::mutex> lock(mutex_);
  free_.push_back(data);
  --used_;
  if (++returns_ < kPeriod) return;
  UnmapLocked(free_least_);
  returns_ = 0;
  free_least_ = free_.size();
}

void BlockPool::Trim() {
  const std::lock_guard<std::mutex> lock(mutex_);
  UnmapLocked(free_.size());
  free_least_ = 0;
}

// The coldest.
void BlockPool::UnmapLocked(size_t count) {
  for (size_t i = 0; i < count; ++i) ROMULUS_CHECK(munmap(free_[i], kBlockBytes) == 0);
  free_.erase(free_.begin(), free_.begin() + count);
}

size_t BlockPool::held_bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return (free_.size() + used_) * kBlockBytes;
}

}  // namespace romulus
