#ifndef ROMULUS_TESTS_SIMULATION_PROCESS_H_
#define ROMULUS_TESTS_SIMULATION_PROCESS_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <utility>

#include "common/loop/scheduler.h"
#include "tests/simulation/virtual_clock.h"

namespace romulus::simulation {

// Whether a host executes: while it is stalled, what is due waits, in order, and is done when it goes on.
class StallGate {
 public:
  bool stalled() const { return stalled_; }
  void Stall() { stalled_ = true; }
  void GoOn() {
    stalled_ = false;
    while (!stalled_ && !waiting_.empty()) {
      std::function<void()> step = std::move(waiting_.front());
      waiting_.pop_front();
      step();
    }
  }
  void Run(std::function<void()> step) {
    if (stalled_) {
      waiting_.push_back(std::move(step));
    } else {
      step();
    }
  }

 private:
  bool stalled_ = false;
  std::deque<std::function<void()>> waiting_;
};

// A process on a host: what it has scheduled goes with it. Copies are the same process.
class Process {
 public:
  Process(VirtualClock* clock, std::shared_ptr<StallGate> gate)
      : clock_(clock), gate_(std::move(gate)), alive_(std::make_shared<bool>(true)) {}

  bool alive() const { return *alive_; }
  void Kill() { *alive_ = false; }
  absl::Duration now() const { return clock_->now(); }

  void After(absl::Duration delay, std::function<void()> step) const {
    if (!*alive_) return;
    clock_->After(delay, [gate = gate_, alive = alive_, step = std::move(step)]() mutable {
      if (!*alive) return;
      gate->Run([alive = std::move(alive), step = std::move(step)] {
        if (*alive) step();
      });
    });
  }

 private:
  VirtualClock* clock_;
  std::shared_ptr<StallGate> gate_;
  std::shared_ptr<bool> alive_;
};

// The simulated Scheduler: a process' loop on the virtual clock. The wall clock of the world may jump; there is no way
// to it from here, and nothing else to read a time from.
class SimulatedScheduler final : public Scheduler {
 public:
  explicit SimulatedScheduler(Process process)
      : process_(std::move(process)), armed_(std::make_shared<std::set<TimerId>>()) {}

  absl::Duration Now() const override { return process_.now(); }
  void Post(std::function<void()> task) override { process_.After(absl::ZeroDuration(), std::move(task)); }
  TimerId After(absl::Duration delay, std::function<void()> task) override {
    TimerId id = ++last_timer_;
    armed_->insert(id);
    process_.After(delay, [armed = armed_, id, task = std::move(task)] {
      if (armed->erase(id) > 0) task();
    });
    return id;
  }
  void Cancel(TimerId timer) override { armed_->erase(timer); }

 private:
  Process process_;
  TimerId last_timer_ = kNoTimer;
  std::shared_ptr<std::set<TimerId>> armed_;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_PROCESS_H_
