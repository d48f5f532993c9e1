#ifndef ROMULUS_COMMON_CODEC_ENCODING_POOL_H_
#define ROMULUS_COMMON_CODEC_ENCODING_POOL_H_

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "common/codec/compressor.h"
#include "common/codec/fair_turns.h"

namespace romulus {

// The threads on which all protections of an agent encode what is not encoded by its sender, that is, all but the
// beginning of each checkpoint (CheckpointPipeline). Their number bounds what encoding takes from the host, and the lanes
// take turns (FairTurns), so that a busy guest's checkpoint does not stand before an idle one's.
class EncodingPool {
 public:
  struct Task {
    // In the lane's order, one at a time.
    std::function<void()> in_turn;
    // After it, on the same thread; beside other tasks of the lane.
    std::function<void(Compressor*)> after;
  };

  // One protection's. Its calls: one thread at a time.
  class Lane {
   public:
    // `pool` outlives the lane.
    explicit Lane(EncodingPool* pool);
    // Drops what has not begun and waits for what has.
    ~Lane();

    void Submit(Task task);

   private:
    EncodingPool* const pool_;
    const uint64_t id_;
    const std::shared_ptr<int> running_;  // Guarded by the pool's mutex.
    friend class EncodingPool;
  };

  // At least 1.
  explicit EncodingPool(unsigned threads);
  // No lane is left.
  ~EncodingPool();

  unsigned threads() const { return static_cast<unsigned>(threads_.size()); }
  // For an agent that was not told: the processors that there are, but no more than 4.
  static unsigned DefaultThreads();

 private:
  struct Queued {
    Task task;
    std::shared_ptr<int> running;  // Of its lane.
  };

  void Work();

  std::mutex mutex_;
  std::condition_variable changed_;
  FairTurns<Queued> turns_;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CODEC_ENCODING_POOL_H_
