#include "primary/lockstep/lockstep_policy.h"

#include <algorithm>

namespace romulus::lockstep {
namespace {

using absl::Duration;

// After a long run whose checkpoint kept the goal, the next run may be longer by this.
constexpr double kGrow = 1.25;

}  // namespace

LockstepPolicy::LockstepPolicy(const LockstepSettings& settings)
    : settings_(settings), wait_(settings.wait_min), run_limit_(settings.run_max) {}

AfterCheckpoint LockstepPolicy::Decide(Duration now) {
  if (!made_.has_value()) {
    made_ = now;
    counts_.trials = 1;
  }
  if (!waiting_.has_value()) return AfterCheckpoint::kRuns;
  if (now < waiting_->until) return AfterCheckpoint::kWaits;
  waiting_.reset();
  short_.clear();
  trial_ = true;
  ++counts_.trials;
  return AfterCheckpoint::kRuns;
}

void LockstepPolicy::OnRunning(Duration now) {
  if (!made_.has_value()) made_ = now;
  ended_.reset();
  if (!running_since_.has_value()) running_since_ = now;
}

void LockstepPolicy::OnRunEnded(Duration now, RunEnd end, std::optional<comparison::DifferenceReason> reason) {
  if (!running_since_.has_value()) return;
  const Duration lasted = now - *running_since_;
  running_since_.reset();
  running_total_ += lasted;
  ++counts_.runs;
  counts_.last_run = lasted;
  if (reason.has_value() && end == RunEnd::kDifference) ++counts_.differences[static_cast<size_t>(*reason)];
  ended_ = Ended{now, lasted, end};
}

void LockstepPolicy::OnCheckpointDone(Duration now) {
  if (!ended_.has_value()) return;
  const Ended ended = *ended_;
  ended_.reset();
  const Duration cost = now - ended.at;
  counts_.last_checkpoint = cost;
  // What both dirtied grows at most in proportion to the run.
  if (cost > settings_.checkpoint_goal) {
    run_limit_ = std::max(ended.lasted * absl::FDivDuration(settings_.checkpoint_goal, cost),
                          settings_.run_per_checkpoint_min * cost);
  } else if (ended.lasted >= run_limit_ / 2) {
    run_limit_ *= kGrow;
  }
  run_limit_ = std::min(run_limit_, settings_.run_max);
  if (ended.end == RunEnd::kOther) return;
  const bool is_short = ended.end == RunEnd::kDifference && ended.lasted < settings_.worth * cost;
  if (is_short) ++counts_.short_runs;
  short_.push_back(is_short);
  if (short_.size() > settings_.judged) short_.pop_front();
  Judge(now, ended.lasted);
}

void LockstepPolicy::Judge(Duration now, Duration lasted) {
  const size_t short_runs = std::count(short_.begin(), short_.end(), true);
  const bool trial_failed = trial_ && short_.size() == settings_.trial_runs && short_runs == short_.size();
  if (trial_failed || short_runs >= settings_.short_runs) {
    GoToInterval(now);
    return;
  }
  if (short_.size() == settings_.judged || (!short_.back() && lasted >= settings_.run_max)) {
    trial_ = false;
    wait_ = settings_.wait_min;
  }
}

void LockstepPolicy::OnRefused(Duration now) {
  if (!made_.has_value()) made_ = now;
  ended_.reset();
  GoToInterval(now);
}

void LockstepPolicy::GoToInterval(Duration now) {
  waiting_ = Waiting{now + wait_};
  wait_ = std::min(wait_ * 2, settings_.wait_max);
  short_.clear();
}

void LockstepPolicy::OnSessionEnded(Duration now) {
  OnRunEnded(now, RunEnd::kOther);
  ended_.reset();
  run_limit_ = settings_.run_max;
}

std::optional<Duration> LockstepPolicy::RunDeadline() const {
  if (!running_since_.has_value()) return std::nullopt;
  return *running_since_ + run_limit_;
}

std::optional<Duration> LockstepPolicy::NextTrial() const {
  if (!waiting_.has_value()) return std::nullopt;
  return waiting_->until;
}

LockstepPolicy::Snapshot LockstepPolicy::snapshot(Duration now) const {
  Snapshot snapshot = counts_;
  snapshot.lockstep = !waiting_.has_value();
  snapshot.running = running_since_.has_value();
  snapshot.run_limit = run_limit_;
  Duration running = running_total_;
  if (running_since_.has_value()) running += now - *running_since_;
  if (made_.has_value() && now > *made_) snapshot.lockstep_share = absl::FDivDuration(running, now - *made_);
  return snapshot;
}

}  // namespace romulus::lockstep
