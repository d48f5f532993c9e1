#ifndef ROMULUS_COMMON_LINK_OUTGOING_QUEUE_H_
#define ROMULUS_COMMON_LINK_OUTGOING_QUEUE_H_

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "common/base/log.h"

namespace romulus {

// What one end of a stream has yet to write. gRPC takes one write at a time; this says which is next: control messages
// in their order, then a heartbeat, then traffic (copies of the guests' frames) and pieces of a checkpoint, in turn. So
// no heartbeat waits for more than one of them, no traffic for more than one piece, and no checkpoint starves. Not
// thread safe.
template <typename Message>
class OutgoingQueue {
 public:
  enum class Kind { kControl, kHeartbeat, kTraffic, kChunk };
  // Far above what a session's protocol can queue: only a peer that does not read gets here, and it is lost by then.
  static constexpr size_t kControlMax = 1024;
  // Enough that the next one can be started at once when one is written; what it is made of stays in memory meanwhile.
  static constexpr size_t kChunksMax = 2;
  // What comes past either is dropped: some milliseconds of a fast link, and more messages than control ones take.
  static constexpr size_t kTrafficMax = 256;
  static constexpr size_t kTrafficBytesMax = 4 << 20;
  // Traffic that may not be dropped: the comparison asks for no more of it in an epoch than a quarter of this, and an
  // epoch does not end without the link.
  static constexpr size_t kUndroppableMax = 64 << 10;

  void PushControl(Message message) {
    ROMULUS_CHECK(control_.size() < kControlMax);
    control_.push_back(std::move(message));
  }
  // Replaces one that has not gone out yet.
  void SetHeartbeat(Message heartbeat) { heartbeat_ = std::move(heartbeat); }
  // `bytes`: its size. False: there is no room, and it is dropped.
  bool PushTraffic(Message message, size_t bytes) {
    if (droppable_ >= kTrafficMax || traffic_bytes_ + bytes > kTrafficBytesMax) return false;
    ++droppable_;
    traffic_bytes_ += bytes;
    traffic_.push_back({std::move(message), bytes, /*droppable=*/true});
    return true;
  }
  // In order with the rest of it, and never dropped.
  void PushUndroppableTraffic(Message message) {
    ROMULUS_CHECK(traffic_.size() - droppable_ < kUndroppableMax);
    traffic_.push_back({std::move(message), 0, /*droppable=*/false});
  }
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
    } else if (!traffic_.empty() && (chunks_.empty() || !traffic_was_last_)) {
      in_flight_ = Kind::kTraffic;
      writing_ = std::move(traffic_.front().message);
      traffic_bytes_ -= traffic_.front().bytes;
      droppable_ -= traffic_.front().droppable;
      traffic_.pop_front();
      traffic_was_last_ = true;
    } else if (!chunks_.empty()) {
      traffic_was_last_ = false;
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
    traffic_.clear();
    traffic_bytes_ = droppable_ = 0;
    chunks_.clear();
  }

 private:
  struct Traffic {
    Message message;
    size_t bytes = 0;
    bool droppable = false;
  };

  std::deque<Message> control_;
  std::optional<Message> heartbeat_;
  std::deque<Traffic> traffic_;
  size_t droppable_ = 0;           // Of these.
  size_t traffic_bytes_ = 0;       // Of the droppable ones.
  bool traffic_was_last_ = false;  // Of traffic and chunks.
  std::deque<Message> chunks_;
  std::optional<Kind> in_flight_;
  Message writing_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_OUTGOING_QUEUE_H_
