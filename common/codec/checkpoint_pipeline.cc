#include "common/codec/checkpoint_pipeline.h"

#include <utility>

#include "common/base/log.h"

namespace romulus {

CheckpointPipeline::CheckpointPipeline(EncodingPool* pool, CheckpointEncoder::Options options)
    : encoder_(std::move(options)), lane_(pool) {}

void CheckpointPipeline::Begin(uint64_t epoch, bool may_refer) {
  Drop();
  const std::lock_guard<std::mutex> lock(encoder_mutex_);
  encoder_.BeginCheckpoint(epoch, may_refer);
  pieces_ = 0;
}

void CheckpointPipeline::Plan(Job* job) {
  const std::lock_guard<std::mutex> lock(encoder_mutex_);
  job->batch = encoder_.Plan(job->piece, job->last);
}

void CheckpointPipeline::Put(absl::Span<const char> piece, bool last) {
  ROMULUS_CHECK(!full());
  auto job = std::make_shared<Job>();
  job->piece = piece;
  job->last = last;
  ++pieces_;
  jobs_.push_back(job);
  if (pieces_ <= kPiecesHere) {
    Plan(job.get());
    encoder_.Compress(job->batch.get(), &compressor_);
    job->done = true;
    return;
  }
  lane_.Submit({.in_turn = [this, job] { Plan(job.get()); },
                .after =
                    [this, job](Compressor* compressor) {
                      encoder_.Compress(job->batch.get(), compressor);
                      const std::lock_guard<std::mutex> lock(mutex_);
                      job->done = true;
                      done_.notify_all();
                    }});
}

void CheckpointPipeline::Next(const std::function<void(absl::Span<const char> block, uint32_t raw_bytes)>& take) {
  ROMULUS_CHECK(!empty());
  const std::shared_ptr<Job> job = std::move(jobs_.front());
  jobs_.pop_front();
  {
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [&job] { return job->done; });
  }
  take(job->batch->block(), job->batch->raw_bytes());
  const std::lock_guard<std::mutex> encoder_lock(encoder_mutex_);
  encoder_.Finish(std::move(job->batch));
  const std::lock_guard<std::mutex> lock(mutex_);
  counts_ = encoder_.counts();
  cache_bytes_ = encoder_.cache_bytes();
}

void CheckpointPipeline::Drop() {
  while (!empty()) Next([](absl::Span<const char>, uint32_t) {});
}

void CheckpointPipeline::ResetCache() {
  Drop();
  const std::lock_guard<std::mutex> lock(encoder_mutex_);
  encoder_.ResetCache();
}

void CheckpointPipeline::set_link_bytes_per_second(uint64_t value) {
  const std::lock_guard<std::mutex> lock(encoder_mutex_);
  encoder_.set_link_bytes_per_second(value);
}

EncodingCounts CheckpointPipeline::counts() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return counts_;
}

uint64_t CheckpointPipeline::cache_bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return cache_bytes_;
}

}  // namespace romulus
