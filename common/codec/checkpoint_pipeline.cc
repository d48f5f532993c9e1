#include "common/codec/checkpoint_pipeline.h"

#include <utility>

#include "common/base/log.h"

namespace romulus {

CheckpointPipeline::CheckpointPipeline(EncodingPool* pool, CheckpointEncoder::Options options)
    : encoder_(std::move(options)), lane_(pool) {}

void CheckpointPipeline::Begin(uint64_t epoch, bool may_refer) {
  Flush();
  const std::lock_guard<std::mutex> lock(encoder_mutex_);
  encoder_.BeginCheckpoint(epoch, may_refer);
}

void CheckpointPipeline::Put(absl::Span<const char> piece, bool last) {
  ROMULUS_CHECK(!full());
  auto job = std::make_shared<Job>();
  job->piece = piece;
  job->last = last;
  jobs_.push_back(job);
  lane_.Submit({.in_turn =
                    [this, job] {
                      const std::lock_guard<std::mutex> lock(encoder_mutex_);
                      job->batch = encoder_.Plan(job->piece, job->last);
                    },
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
  const std::lock_guard<std::mutex> lock(encoder_mutex_);
  encoder_.Finish(std::move(job->batch));
}

void CheckpointPipeline::Flush() {
  while (!empty()) Next([](absl::Span<const char>, uint32_t) {});
}

void CheckpointPipeline::ResetCache() {
  Flush();
  const std::lock_guard<std::mutex> lock(encoder_mutex_);
  encoder_.ResetCache();
}

void CheckpointPipeline::set_link_bytes_per_second(uint64_t value) {
  const std::lock_guard<std::mutex> lock(encoder_mutex_);
  encoder_.set_link_bytes_per_second(value);
}

EncodingCounts CheckpointPipeline::counts() const {
  const std::lock_guard<std::mutex> lock(encoder_mutex_);
  return encoder_.counts();
}

uint64_t CheckpointPipeline::cache_bytes() const {
  const std::lock_guard<std::mutex> lock(encoder_mutex_);
  return encoder_.cache_bytes();
}

}  // namespace romulus
