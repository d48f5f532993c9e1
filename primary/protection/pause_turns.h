#ifndef ROMULUS_PRIMARY_PROTECTION_PAUSE_TURNS_H_
#define ROMULUS_PRIMARY_PROTECTION_PAUSE_TURNS_H_

#include <cstddef>
#include <functional>
#include <list>
#include <memory>

#include "absl/time/time.h"
#include "common/loop/scheduler.h"

namespace romulus {

// Keeps the pauses of the guests of one host apart. A pause is work of dom0: its few processors suspend, copy and
// resume the guest. Two guests that are paused at the same moment, each with its own helper, share them, and both
// pauses take longer; one after the other, each takes as long as alone. So only so many guests are paused at a time,
// and one whose checkpoint is due meanwhile runs on until it has a turn: first come, first served, so that no guest
// waits for another one twice. It waits no longer than its patience: a guest with long pauses must not hold up one with
// short ones for more than those. After that it takes its turn all the same.
//
// It delays when a checkpoint is asked for, and nothing else. On the scheduler's thread; outlives its turns.
class PauseTurns {
 public:
  // at_once: guests that may be paused at the same time; 0: as many as there are.
  PauseTurns(Scheduler* scheduler, size_t at_once) : scheduler_(scheduler), at_once_(at_once) {}

  // From asking for the turn until the guest runs again. Destroying it ends the turn, or gives it up.
  class Turn {
   public:
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    friend class PauseTurns;
    Turn(PauseTurns* turns, std::function<void()> go) : turns_(turns), go_(std::move(go)) {}
    void Begin();

    PauseTurns* const turns_;
    std::function<void()> go_;
    bool begun_ = false;
    Scheduler::TimerId patience_ = Scheduler::kNoTimer;
    std::list<Turn*>::iterator place_;  // In waiting_, until it has begun.
  };

  // Calls `go` once, when it is the guest's turn: from within this call if that is now. `go` must not destroy the turn.
  std::unique_ptr<Turn> Ask(absl::Duration patience, std::function<void()> go);

 private:
  void BeginNext();

  Scheduler* const scheduler_;
  const size_t at_once_;
  size_t begun_ = 0;
  std::list<Turn*> waiting_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_PROTECTION_PAUSE_TURNS_H_
