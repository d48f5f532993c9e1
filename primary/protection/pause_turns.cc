#include "primary/protection/pause_turns.h"

#include <utility>

namespace romulus {

std::unique_ptr<PauseTurns::Turn> PauseTurns::Ask(absl::Duration patience, std::function<void()> go) {
  std::unique_ptr<Turn> turn(new Turn(this, std::move(go)));
  if (at_once_ == 0 || begun_ < at_once_ || patience <= absl::ZeroDuration()) {
    turn->begun_ = true;
    ++begun_;
    turn->go_();
    return turn;
  }
  turn->place_ = waiting_.insert(waiting_.end(), turn.get());
  turn->patience_ = scheduler_->After(patience, [waiting = turn.get()] {
    waiting->patience_ = Scheduler::kNoTimer;
    waiting->Begin();
  });
  return turn;
}

void PauseTurns::Turn::Begin() {
  turns_->scheduler_->Cancel(std::exchange(patience_, Scheduler::kNoTimer));
  turns_->waiting_.erase(place_);
  begun_ = true;
  ++turns_->begun_;
  go_();
}

PauseTurns::Turn::~Turn() {
  if (begun_) {
    --turns_->begun_;
    turns_->BeginNext();
    return;
  }
  turns_->scheduler_->Cancel(patience_);
  turns_->waiting_.erase(place_);
}

void PauseTurns::BeginNext() {
  // More than at_once_ may have begun: those that had run out of patience.
  if (!waiting_.empty() && begun_ < at_once_) waiting_.front()->Begin();
}

}  // namespace romulus
