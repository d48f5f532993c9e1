#ifndef ROMULUS_COMMON_STREAM_BLOCK_POOL_H_
#define ROMULUS_COMMON_STREAM_BLOCK_POOL_H_

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace romulus {

// Memory for checkpoints that have arrived, in blocks of one size: taken from the kernel once, touched, and used again.
// Fresh pages cost more than the copy that fills them (in a PV dom0 several times as much). All sessions of an agent
// share one pool: how much each of them needs changes, together they need about the same.
//
// It keeps what has been in use lately: blocks that lay free during a whole period of kPeriod returns go back to the
// kernel. What is in use is bounded by whoever takes (CheckpointAssembler::Limits), not here. Thread safe.
class BlockPool : public std::enable_shared_from_this<BlockPool> {
 public:
  static constexpr size_t kBlockBytes = size_t{256} << 10;
  static constexpr size_t kPeriod = 4096;

  // One block, given back when it goes. Keeps the pool.
  class Block {
   public:
    Block(Block&& other) noexcept : data_(std::exchange(other.data_, nullptr)), pool_(std::move(other.pool_)) {}
    Block& operator=(Block&& other) noexcept {
      std::swap(data_, other.data_);
      std::swap(pool_, other.pool_);
      return *this;
    }
    ~Block() {
      if (data_ != nullptr) pool_->Return(data_);
    }

    char* data() const { return data_; }

   private:
    friend class BlockPool;
    Block(char* data, std::shared_ptr<BlockPool> pool) : data_(data), pool_(std::move(pool)) {}

    char* data_;
    std::shared_ptr<BlockPool> pool_;
  };

  static std::shared_ptr<BlockPool> New() { return std::shared_ptr<BlockPool>(new BlockPool); }
  ~BlockPool();

  // RESOURCE_EXHAUSTED: the kernel has none. Its contents are whatever they were.
  absl::StatusOr<Block> Take();
  // Gives what is free back to the kernel.
  void Trim();

  // Of blocks in use and free.
  size_t held_bytes() const;

 private:
  BlockPool() = default;
  void Return(char* data);
  void UnmapLocked(size_t count);

  mutable std::mutex mutex_;
  std::vector<char*> free_;  // The last one is the warmest.
  size_t used_ = 0;
  size_t returns_ = 0;     // In this period.
  size_t free_least_ = 0;  // In this period.
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_STREAM_BLOCK_POOL_H_
