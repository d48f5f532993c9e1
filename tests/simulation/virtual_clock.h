#ifndef ROMULUS_TESTS_SIMULATION_VIRTUAL_CLOCK_H_
#define ROMULUS_TESTS_SIMULATION_VIRTUAL_CLOCK_H_

#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace romulus::simulation {

// The world's time and order: steps run one at a time; at the same time, in the order in which they were asked for.
class VirtualClock {
 public:
  absl::Duration now() const { return now_; }

  void After(absl::Duration delay, std::function<void()> step) {
    steps_.push({now_ + delay, next_++, std::move(step)});
  }

  // Forgets all steps to come, and what they own.
  void Clear() {
    while (!steps_.empty()) {
      Step dropped = std::move(const_cast<Step&>(steps_.top()));
      steps_.pop();
    }
  }

  // Runs the next step. False: there is none.
  bool RunNext() {
    if (steps_.empty()) return false;
    Step next = std::move(const_cast<Step&>(steps_.top()));
    steps_.pop();
    now_ = next.at;
    next.run();
    return true;
  }

  // For tests: runs steps until `condition` holds. False: it did not while there were steps, within ten minutes.
  bool RunUntil(const std::function<bool()>& condition) {
    const absl::Duration end = now_ + absl::Minutes(10);
    while (!condition()) {
      if (now_ > end || !RunNext()) return false;
    }
    return true;
  }

  // For tests: runs what comes within `duration`.
  void RunFor(absl::Duration duration) {
    bool over = false;
    After(duration, [&over] { over = true; });
    while (!over) RunNext();
  }

 private:
  struct Step {
    absl::Duration at;
    uint64_t order;
    std::function<void()> run;
    bool operator<(const Step& other) const {  // Of a max-heap: the latest first.
      return std::make_pair(at, order) > std::make_pair(other.at, other.order);
    }
  };

  absl::Duration now_;
  uint64_t next_ = 0;
  std::priority_queue<Step> steps_;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_VIRTUAL_CLOCK_H_
