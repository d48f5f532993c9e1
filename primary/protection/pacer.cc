#include "primary/protection/pacer.h"

#include <algorithm>

namespace romulus::protection {
namespace {

using absl::Duration;

// Aims at this share of a goal: what is measured scatters.
constexpr double kAim = 0.95;
// From one epoch to the next the interval at most halves, and grows by at most an eighth: too long a delay is seen by
// others, too short an interval by nobody.
constexpr double kShrink = 0.5;
constexpr double kGrow = 1.125;
// Changes that are smaller than this share are noise.
constexpr double kDeadBand = 0.02;

// The rank of the value that 99 of 100 do not pass, counted from the worst.
size_t WorstRank(size_t count) { return count / 100 + 1; }

}  // namespace

Pacer::Pacer(const Pacing& pacing) : pacing_(pacing), interval_(pacing.interval) {
  if (!pacing_.goal.has_value()) return;
  // Half of the delay leaves the other half to suspend, copy and commit.
  if (pacing_.goal->output_delay_p99.has_value()) interval_ = std::min(interval_, *pacing_.goal->output_delay_p99 / 2);
  Pace();
}

void Pacer::Change(const Pacing& pacing) {
  pacing_ = pacing;
  Pace();
}

void Pacer::Forget() { recent_.clear(); }

void Pacer::OnEpoch(const PacedEpoch& epoch) {
  recent_.push_back(epoch);
  if (recent_.size() > kRecent) recent_.pop_front();
  Pace();
}

double Pacer::RecentPauseShare() const {
  Duration paused, all;
  for (const PacedEpoch& epoch : recent_) {
    paused += epoch.pause;
    all += epoch.ran + epoch.suspend;
  }
  return all > absl::ZeroDuration() ? absl::FDivDuration(paused, all) : 0;
}

std::optional<Duration> Pacer::LargestForDelay() const {
  if (recent_.empty() || !pacing_.goal->output_delay_p99.has_value()) return std::nullopt;
  // For each epoch, the interval that would have made its delay right, if all but suspend and resume grew with it.
  std::vector<Duration> right;
  for (const PacedEpoch& epoch : recent_) {
    const Duration fixed = epoch.pause - epoch.copy;
    const Duration left = kAim * *pacing_.goal->output_delay_p99 - fixed;
    const double needed = absl::FDivDuration(left, std::max(epoch.output_delay - fixed, absl::Microseconds(1)));
    right.push_back(epoch.ran * std::max(needed, 0.0));
  }
  const auto worst = right.begin() + (WorstRank(right.size()) - 1);
  std::nth_element(right.begin(), worst, right.end());
  return *worst;
}

std::optional<Duration> Pacer::LeastForPauseShare() const {
  if (recent_.empty() || !pacing_.goal->pause_share.has_value()) return std::nullopt;
  Duration paused, suspend;
  for (const PacedEpoch& epoch : recent_) {
    paused += epoch.pause;
    suspend += epoch.suspend;
  }
  return (paused / (kAim * *pacing_.goal->pause_share) - suspend) / static_cast<int64_t>(recent_.size());
}

void Pacer::Pace() {
  if (!pacing_.goal.has_value()) {
    interval_ = pacing_.interval;
    bound_ = PacingBound::kFixed;
    return;
  }
  const Duration min = pacing_.goal->interval_min;
  const Duration max = pacing_.goal->interval_max;
  interval_ = std::clamp(interval_, min, max);
  const std::optional<Duration> largest = LargestForDelay();
  const std::optional<Duration> least = LeastForPauseShare();
  if (!largest.has_value() && !least.has_value()) {
    bound_ = PacingBound::kNeither;
    return;
  }
  const bool by_share = least.has_value() && (!largest.has_value() || *least <= *largest);
  const Duration right = by_share ? *least : *largest;
  if (by_share) {
    bound_ = right < min ? PacingBound::kNeither : PacingBound::kPauseShare;
  } else {
    bound_ = right > max ? PacingBound::kNeither : right < min ? PacingBound::kFloor : PacingBound::kOutputDelay;
  }
  const Duration next = std::clamp(std::clamp(right, interval_ * kShrink, interval_ * kGrow), min, max);
  // The ends of the range are reached all the same.
  const bool noise = absl::AbsDuration(next - interval_) < interval_ * kDeadBand && next != min && next != max;
  if (!noise) interval_ = next;
}

Pacer::Snapshot Pacer::snapshot() const {
  Snapshot snapshot{interval_, bound_, {}, RecentPauseShare()};
  if (!pacing_.goal.has_value() || recent_.size() < kJudged) return snapshot;
  if (const std::optional<Duration> goal = pacing_.goal->output_delay_p99; goal.has_value()) {
    const auto late = [&](const PacedEpoch& epoch) { return epoch.output_delay > *goal; };
    if (std::count_if(recent_.begin(), recent_.end(), late) >= static_cast<int64_t>(WorstRank(recent_.size()))) {
      snapshot.missed.push_back(Goal::kOutputDelay);
    }
  }
  if (pacing_.goal->pause_share.has_value() && snapshot.pause_share > *pacing_.goal->pause_share) {
    snapshot.missed.push_back(Goal::kPauseShare);
  }
  return snapshot;
}

}  // namespace romulus::protection
