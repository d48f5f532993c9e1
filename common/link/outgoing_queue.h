#ifndef ROMULUS_COMMON_LINK_OUTGOING_QUEUE_H_
#define ROMULUS_COMMON_LINK_OUTGOING_QUEUE_H_

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "common/base/log.h"

namespace romulus {

// What one end of a stream has yet to write. gRPC takes one write at a time; this says which is next: control messages
// in their order, then a heartbeat, then a piece of a checkpoint. So no heartbeat waits for more than one piece.
// Not thread safe.
template <typename Message>
class OutgoingQueue {
 public:
  enum class Kind { kControl, kHeartbeat, kChunk };
  // Far above what a session's protocol can queue: only a peer that does not read gets here, and it is lost by then.
  static constexpr size_t kControlMax = 1024;
  // Enough that the next one can be started at once when one is written; what it is made of stays in memory meanwhile.
  static constexpr size_t kChunksMax = 2;

  void PushControl(Message message) {
    ROMULUS_CHECK(control_.size() < kControlMax);
    control_.push_back(std::move(message));
  }
  // Replaces one that has not gone out yet.
  void SetHeartbeat(Message heartbeat) { heartbeat_ = std::move(heartbeat); }
  // Up to kChunksMax wait.
  bool TakesChunk() const { return chunks_.size() < kChunksMax; }
  bool has_chunks() const { return !chunks_.empty(); }
  void PushChunk(Message chunk) {
    ROMULUS_CHECK(TakesChunk());
    chunks_.push_back(std::move(chunk));
  }

  // The message to write now, which stays valid until Done(); null: one is in flight, or there is none.
  const Message* StartNext() {
    if (in_flight_.has_value()) return nullptr;
    if (!control_.empty()) {
      in_flight_ = Kind::kControl;
      writing_ = std::move(control_.front());
      control_.pop_front();
    } else if (heartbeat_.has_value()) {
      in_flight_ = Kind::kHeartbeat;
      writing_ = std::move(*heartbeat_);
      heartbeat_.reset();
    } else if (!chunks_.empty()) {
      in_flight_ = Kind::kChunk;
      writing_ = std::move(chunks_.front());
      chunks_.pop_front();
    } else {
      return nullptr;
    }
    return &writing_;
  }

  // The one in flight was written, or will never be: lets go of it.
  Kind Done() {
    ROMULUS_CHECK(in_flight_.has_value());
    const Kind kind = *in_flight_;
    in_flight_.reset();
    writing_ = Message();
    return kind;
  }

  bool in_flight() const { return in_flight_.has_value(); }

  // Forgets what has not been started.
  void Drop() {
    control_.clear();
    heartbeat_.reset();
    chunks_.clear();
  }

 private:
  std::deque<Message> control_;
  std::optional<Message> heartbeat_;
  std::deque<Message> chunks_;
  std::optional<Kind> in_flight_;
  Message writing_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_OUTGOING_QUEUE_H_
