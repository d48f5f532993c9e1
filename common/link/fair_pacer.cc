#include "common/link/fair_pacer.h"

#include <algorithm>

#include "common/base/log.h"

namespace romulus {
namespace {

// A thread that was waked so much late makes up for it.
constexpr absl::Duration kLateness = absl::Milliseconds(10);

// When the next one may follow a chunk that goes now and was due at `due`.
absl::Duration After(absl::Duration due, absl::Duration now, uint64_t bytes, uint64_t limit) {
  if (limit == 0) return now;
  return std::max(due, now - kLateness) + absl::Seconds(static_cast<double>(bytes) / static_cast<double>(limit));
}

}  // namespace

void FairPacer::Request(FlowId id, uint64_t bytes) {
  Flow& flow = flows_[id];
  ROMULUS_CHECK(flow.requested == 0 && bytes > 0);
  flow.requested = bytes;
  flow.start = std::max(virtual_time_, flow.finish);
}

void FairPacer::Withdraw(FlowId id) {
  const auto flow = flows_.find(id);
  if (flow != flows_.end()) flow->second.requested = 0;
}

std::optional<FairPacer::FlowId> FairPacer::TakeNext(absl::Duration now) {
  // Without a limit nothing is due later; one that was lifted does not bind any more.
  if (limit_ > 0 && now < due_) return std::nullopt;
  auto first = flows_.end();
  for (auto flow = flows_.begin(); flow != flows_.end(); ++flow) {
    const Flow& candidate = flow->second;
    if (candidate.requested == 0 || (candidate.limit > 0 && now < candidate.due)) continue;
    if (first == flows_.end() || candidate.start < first->second.start) first = flow;
  }
  if (first == flows_.end()) return std::nullopt;
  Flow& flow = first->second;
  virtual_time_ = std::max(virtual_time_, flow.start);
  flow.finish = flow.start + static_cast<double>(flow.requested);
  flow.due = After(flow.due, now, flow.requested, flow.limit);
  due_ = After(due_, now, flow.requested, limit_);
  flow.requested = 0;
  return first->first;
}

absl::Duration FairPacer::NextTime() const {
  absl::Duration next = absl::InfiniteDuration();
  for (const auto& [id, flow] : flows_) {
    if (flow.requested == 0) continue;
    next = std::min(next, flow.limit > 0 ? flow.due : -absl::InfiniteDuration());
  }
  return limit_ > 0 && next != absl::InfiniteDuration() ? std::max(next, due_) : next;
}

}  // namespace romulus
