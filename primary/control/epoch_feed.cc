#include "primary/control/epoch_feed.h"

#include <algorithm>
#include <utility>

namespace romulus {

using control::v1::EpochTrace;
using control::v1::WatchEpochsResponse;

std::optional<WatchEpochsResponse> EpochFeed::Reader::Next(absl::Duration limit) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait_for(lock, absl::ToChronoMilliseconds(std::min(limit, absl::Hours(1))),
                    [this] { return !waiting_.empty() || ended_; });
  if (waiting_.empty()) return std::nullopt;
  WatchEpochsResponse response;
  const std::shared_ptr<const EpochTrace> oldest = std::move(waiting_.front());
  waiting_.pop_front();
  response.set_missed(std::exchange(missed_, 0));
  lock.unlock();
  *response.mutable_epoch() = *oldest;
  return response;
}

void EpochFeed::Reader::Gather(absl::Duration time) {
  std::unique_lock<std::mutex> lock(mutex_);
  ending_.wait_for(lock, absl::ToChronoMilliseconds(time), [this] { return ended_; });
}

void EpochFeed::Reader::End() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ended_ = true;
  changed_.notify_all();
  ending_.notify_all();
}

bool EpochFeed::Reader::over() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return ended_ && waiting_.empty();
}

EpochFeed::~EpochFeed() {
  for (const std::shared_ptr<Reader>& reader : Readers("")) reader->End();
}

std::shared_ptr<EpochFeed::Reader> EpochFeed::Subscribe(const std::string& name) {
  std::shared_ptr<Reader> reader(new Reader(name));
  const std::lock_guard<std::mutex> lock(mutex_);
  readers_.erase(std::remove_if(readers_.begin(), readers_.end(), [](const auto& gone) { return gone.expired(); }),
                 readers_.end());
  readers_.push_back(reader);
  return reader;
}

bool EpochFeed::watched() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::any_of(readers_.begin(), readers_.end(), [](const auto& reader) { return !reader.expired(); });
}

// Those that a message of the protection `name` concerns; empty: all.
std::vector<std::shared_ptr<EpochFeed::Reader>> EpochFeed::Readers(const std::string& name) {
  std::vector<std::shared_ptr<Reader>> readers;
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const std::weak_ptr<Reader>& each : readers_) {
    std::shared_ptr<Reader> reader = each.lock();
    if (reader == nullptr) continue;
    if (name.empty() || reader->name_.empty() || reader->name_ == name) readers.push_back(std::move(reader));
  }
  return readers;
}

void EpochFeed::Publish(EpochTrace epoch) {
  const auto shared = std::make_shared<const EpochTrace>(std::move(epoch));
  for (const std::shared_ptr<Reader>& reader : Readers(shared->protection())) {
    const std::lock_guard<std::mutex> lock(reader->mutex_);
    if (reader->waiting_.size() == kWaitingMax) {
      reader->waiting_.pop_front();
      ++reader->missed_;
    }
    reader->waiting_.push_back(shared);
    reader->changed_.notify_all();
  }
}

void EpochFeed::End(const std::string& name) {
  for (const std::shared_ptr<Reader>& reader : Readers(name)) {
    if (reader->name_ == name) reader->End();
  }
}

}  // namespace romulus
