#include "netbuf/hold_time_meter.h"

#include <algorithm>
#include <utility>

namespace romulus {
namespace {

// So that one release, however late, fits into what is remembered.
constexpr size_t kArrivalsMax = HoldTimeMeter::kRemembered;
// Halving the interval this often finds a quantile of minutes to the nanosecond.
constexpr int kBisections = 40;

// How many of `packets`, whose times lie evenly from `shortest` to `longest`, were held for no longer than `time`.
double CountUpTo(absl::Duration time, absl::Duration shortest, absl::Duration longest, double packets) {
  if (time >= longest) return packets;
  if (time <= shortest) return 0;
  return packets * absl::FDivDuration(time - shortest, longest - shortest);
}

}  // namespace

void HoldTimeMeter::OnReading(absl::Duration now, const Reading& reading) {
  const absl::Duration from = last_reading_.value_or(now);
  last_reading_ = now;
  const uint64_t arrived = reading.held_bytes + reading.sent_bytes;
  // A packet that the device could not take goes back into the queue, and counts twice for a moment.
  if (arrived <= arrived_bytes_) return;
  const uint64_t bytes = arrived - std::exchange(arrived_bytes_, arrived);
  if (!holding_) return;
  double packets = 1;
  if (reading.held_bytes > 0) {
    packets = static_cast<double>(bytes) * static_cast<double>(reading.held_packets) /
              static_cast<double>(reading.held_bytes);
  }
  if (arrivals_.size() >= kArrivalsMax) HalveResolution();
  arrivals_.push_back({from, now, arrived, packets});
}

void HoldTimeMeter::OnMark() {
  holding_ = true;
  marked_ = true;
  mark_ = arrived_bytes_;
}

void HoldTimeMeter::OnRelease(absl::Duration now) {
  if (!marked_) return;
  marked_ = false;
  ReleaseUpTo(mark_, now);
}

void HoldTimeMeter::OnPassThrough(absl::Duration now) {
  ReleaseUpTo(arrived_bytes_, now);
  holding_ = marked_ = false;
}

void HoldTimeMeter::OnDiscard() {
  arrivals_.clear();
  holding_ = marked_ = false;
  // Held + sent falls by what was dropped.
  arrived_bytes_ = 0;
}

uint64_t HoldTimeMeter::unmarked_bytes() const { return holding_ ? arrived_bytes_ - mark_ : 0; }

HoldTimeMeter::Spread HoldTimeMeter::spread() const {
  if (released_.empty()) return {};
  absl::Duration longest;
  for (const Held& held : released_) longest = std::max(longest, held.longest);
  return {Quantile(0.5), Quantile(0.99), longest};
}

void HoldTimeMeter::ReleaseUpTo(uint64_t end_bytes, absl::Duration now) {
  while (!arrivals_.empty() && arrivals_.front().end_bytes <= end_bytes) {
    const Arrivals& oldest = arrivals_.front();
    released_.push_back({now - oldest.to, now - oldest.from, oldest.packets});
    arrivals_.pop_front();
    if (released_.size() > kRemembered) released_.pop_front();
  }
}

void HoldTimeMeter::HalveResolution() {
  std::deque<Arrivals> halved;
  bool has_room = false;
  for (const Arrivals& next : arrivals_) {
    // Not over the mark: what is before it leaves alone.
    if (has_room && halved.back().end_bytes != mark_) {
      halved.back().to = next.to;
      halved.back().end_bytes = next.end_bytes;
      halved.back().packets += next.packets;
      has_room = false;
    } else {
      halved.push_back(next);
      has_room = true;
    }
  }
  arrivals_ = std::move(halved);
}

absl::Duration HoldTimeMeter::Quantile(double share) const {
  double packets = 0;
  absl::Duration low, high;
  for (const Held& held : released_) {
    packets += held.packets;
    high = std::max(high, held.longest);
  }
  for (int i = 0; i < kBisections; ++i) {
    const absl::Duration middle = low + (high - low) / 2;
    double up_to = 0;
    for (const Held& held : released_) up_to += CountUpTo(middle, held.shortest, held.longest, held.packets);
    (up_to < share * packets ? low : high) = middle;
  }
  return high;
}

}  // namespace romulus
