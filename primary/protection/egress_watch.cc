#include "primary/protection/egress_watch.h"

#include <algorithm>
#include <utility>

namespace romulus {
namespace {

constexpr int kCostDivisor = 100;
constexpr int kCostDivisorOfAll = 10;

}  // namespace

EgressWatch::EgressWatch(EgressBuffer* buffer, const Options& options) : buffer_(buffer), options_(options) {
  if (options_.watches != nullptr) ++*options_.watches;
}

EgressWatch::~EgressWatch() {
  if (options_.watches != nullptr) --*options_.watches;
}

void EgressWatch::Look(absl::Duration now) {
  // Of a vif that can't be read, what was known of it: no new arrivals.
  buffer_->ReadStatistics(statistics_).IgnoreError();
  meters_.resize(statistics_.vifs.size());
  drops_told_.resize(statistics_.vifs.size());
  for (size_t i = 0; i < meters_.size(); ++i) {
    const EgressBuffer::VifStatistics& vif = statistics_.vifs[i];
    meters_[i].OnReading(now, {vif.held_packets, vif.held_bytes, vif.sent_bytes});
  }
}

void EgressWatch::OnOpenEpoch(absl::Duration now) {
  Look(now);
  for (HoldTimeMeter& meter : meters_) meter.OnMark();
}

void EgressWatch::OnReleaseEpoch(absl::Duration now) {
  for (HoldTimeMeter& meter : meters_) meter.OnRelease(now);
}

void EgressWatch::OnPassThrough(absl::Duration now) {
  for (HoldTimeMeter& meter : meters_) meter.OnPassThrough(now);
}

void EgressWatch::OnDiscard() {
  for (HoldTimeMeter& meter : meters_) meter.OnDiscard();
}

bool EgressWatch::pressed() const {
  for (size_t i = 0; i < meters_.size(); ++i) {
    const uint64_t high_water = statistics_.vifs[i].limit_bytes * options_.high_water_percent / 100;
    if (high_water > 0 && meters_[i].unmarked_bytes() >= high_water) return true;
  }
  return false;
}

std::vector<HoldTimeMeter::Spread> EgressWatch::times_held() const {
  std::vector<HoldTimeMeter::Spread> times;
  for (size_t i = 0; i < meters_.size(); ++i) {
    times.push_back(statistics_.vifs[i].time_held.value_or(meters_[i].spread()));
  }
  return times;
}

std::vector<uint64_t> EgressWatch::TakeNewDrops() {
  std::vector<uint64_t> drops;
  for (size_t i = 0; i < drops_told_.size(); ++i) {
    const uint64_t all = statistics_.vifs[i].dropped_packets;
    drops.push_back(all - std::exchange(drops_told_[i], all));
  }
  return drops;
}

absl::Duration EgressWatch::NextPeriod(absl::Duration cost) {
  // What it costs when nothing comes between: down at once, up slowly.
  usual_cost_ = cost < usual_cost_ ? cost : usual_cost_ + (cost - usual_cost_) / 64;
  const int divisor = std::max(kCostDivisor, options_.watches == nullptr ? 0 : kCostDivisorOfAll * *options_.watches);
  return std::max(options_.period, divisor * usual_cost_);
}

}  // namespace romulus
