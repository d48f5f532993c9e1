#include "common/codec/encoding_pool.h"

#include <algorithm>
#include <utility>

#include "common/base/log.h"

namespace romulus {

EncodingPool::Lane::Lane(EncodingPool* pool)
    : pool_(pool),
      id_([pool] {
        const std::lock_guard<std::mutex> lock(pool->mutex_);
        return pool->turns_.AddLane();
      }()),
      running_(std::make_shared<int>(0)) {}

EncodingPool::Lane::~Lane() {
  std::unique_lock<std::mutex> lock(pool_->mutex_);
  pool_->turns_.Clear(id_);
  pool_->changed_.wait(lock, [this] { return *running_ == 0; });
  pool_->turns_.RemoveLane(id_);
}

void EncodingPool::Lane::Submit(Task task) {
  const std::lock_guard<std::mutex> lock(pool_->mutex_);
  pool_->turns_.Push(id_, {std::move(task), running_});
  pool_->changed_.notify_all();
}

EncodingPool::EncodingPool(unsigned threads) {
  ROMULUS_CHECK(threads >= 1);
  for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

EncodingPool::~EncodingPool() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
}

unsigned EncodingPool::DefaultThreads() { return std::clamp(std::thread::hardware_concurrency(), 1u, 4u); }

void EncodingPool::Work() {
  Compressor compressor;
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    auto next = turns_.Take();
    if (!next.has_value()) {
      if (ending_) return;
      changed_.wait(lock);
      continue;
    }
    {
      const uint64_t lane = next->first;
      Queued queued = std::move(next->second);
      next.reset();
      ++*queued.running;
      lock.unlock();
      queued.task.in_turn();
      lock.lock();
      turns_.EndTurn(lane);
      changed_.notify_all();
      lock.unlock();
      queued.task.after(&compressor);
      // What the task holds goes before the lane is told that it is done.
      queued.task = {};
      lock.lock();
      --*queued.running;
      changed_.notify_all();
    }
  }
}

}  // namespace romulus
