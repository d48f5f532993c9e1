#ifndef ROMULUS_COMMON_CODEC_FAIR_TURNS_H_
#define ROMULUS_COMMON_CODEC_FAIR_TURNS_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>

#include "common/base/log.h"

namespace romulus {

// Whose task is next, where several lanes have some: each lane's in order, one at a time until its turn is ended, and
// the lanes one after the other. A lane that has been idle waits for at most one task of each other lane, whatever they
// have piled up. Pure; not thread safe.
template <typename Task>
class FairTurns {
 public:
  using LaneId = uint64_t;

  LaneId AddLane() {
    lanes_[next_id_];
    return next_id_++;
  }
  // With whatever it has. Not while it has the turn.
  void RemoveLane(LaneId id) {
    ROMULUS_CHECK(!lanes_.at(id).in_turn);
    lanes_.erase(id);
  }

  void Push(LaneId id, Task task) { lanes_.at(id).tasks.push_back(std::move(task)); }
  // Drops what the lane has not begun.
  void Clear(LaneId id) { lanes_.at(id).tasks.clear(); }

  // The next task that may begin; its lane has no other turn before EndTurn.
  std::optional<std::pair<LaneId, Task>> Take() {
    auto lane = lanes_.upper_bound(last_);
    for (size_t i = 0; i < lanes_.size(); ++i, ++lane) {
      if (lane == lanes_.end()) lane = lanes_.begin();
      if (lane->second.in_turn || lane->second.tasks.empty()) continue;
      last_ = lane->first;
      lane->second.in_turn = true;
      std::pair<LaneId, Task> taken(lane->first, std::move(lane->second.tasks.front()));
      lane->second.tasks.pop_front();
      return taken;
    }
    return std::nullopt;
  }
  void EndTurn(LaneId id) {
    ROMULUS_CHECK(lanes_.at(id).in_turn);
    lanes_.at(id).in_turn = false;
  }

 private:
  struct Lane {
    std::deque<Task> tasks;
    bool in_turn = false;
  };
  std::map<LaneId, Lane> lanes_;
  LaneId next_id_ = 1;
  LaneId last_ = 0;  // The lane whose turn was last.
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CODEC_FAIR_TURNS_H_
