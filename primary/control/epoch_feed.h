#ifndef ROMULUS_PRIMARY_CONTROL_EPOCH_FEED_H_
#define ROMULUS_PRIMARY_CONTROL_EPOCH_FEED_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "proto/control/v1/protection_service.pb.h"

namespace romulus {

// Brings the traces of epochs from the loop, which never waits, to the readers of WatchEpochs, which may be slow: each
// has a queue of bounded length, and is told what it has missed. Thread safe.
class EpochFeed {
 public:
  // Per reader. At 40 epochs per second: 25 s.
  static constexpr size_t kWaitingMax = 1024;

  // One reader's end. May outlive the feed. Next is for one thread.
  class Reader {
   public:
    // The oldest that waits, at the latest after `limit`; nullopt: none came.
    std::optional<control::v1::WatchEpochsResponse> Next(absl::Duration limit);
    // Lets epochs gather for `time`, or until nothing will come any more; none of them wakes the caller.
    void Gather(absl::Duration time);
    // Nothing will come any more, and nothing waits.
    bool over() const;

   private:
    friend class EpochFeed;
    explicit Reader(std::string name) : name_(std::move(name)) {}

    void End();

    const std::string name_;  // Of the protection; empty: all.
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::condition_variable ending_;
    // Guarded by mutex_.
    std::deque<std::shared_ptr<const control::v1::EpochTrace>> waiting_;
    uint64_t missed_ = 0;
    bool ended_ = false;
  };

  ~EpochFeed();

  // Of the protection of this name; empty: of all. What is published from now on.
  std::shared_ptr<Reader> Subscribe(const std::string& name);
  // Whether Publish would reach anybody: saves making what nobody reads.
  bool watched() const;
  void Publish(control::v1::EpochTrace epoch);
  // The protection is gone: ends the readers that watch only it.
  void End(const std::string& name);

 private:
  std::vector<std::shared_ptr<Reader>> Readers(const std::string& name);

  mutable std::mutex mutex_;
  std::vector<std::weak_ptr<Reader>> readers_;  // Guarded by mutex_.
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CONTROL_EPOCH_FEED_H_
