#include "primary/comparison/output_comparison.h"

#include <algorithm>
#include <deque>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "primary/comparison/flow_comparison.h"

namespace romulus::comparison {
namespace {

// How many of the flows that were used longest ago are looked at for one that is idle.
constexpr int kEvictionTries = 64;

}  // namespace

struct OutputComparison::Entry {
  FlowKey key;
  std::unique_ptr<FlowComparison> flow;
  std::deque<HeldFrame> held;
  bool different = false;  // Found so in this epoch.
  std::optional<absl::Duration> deadline;
  // As they stand in the sums.
  size_t standby_bytes = 0;
  size_t history_bytes = 0;
  std::list<Entry*>::iterator recent;
};

OutputComparison::OutputComparison(const Settings& settings) : settings_(settings) {}
OutputComparison::~OutputComparison() = default;

Actions OutputComparison::OnPrimaryFrame(absl::Duration now, FrameId id, uint32_t device_id,
                                         std::shared_ptr<const std::string> contents) {
  ROMULUS_CHECK(id > last_id_);
  last_id_ = id;
  Actions actions;
  ++statistics_.held;
  packet::Frame parsed = packet::Parse(*contents);
  Entry* entry = FindOrAdd(device_id, parsed);
  if (entry == nullptr) {
    ++untracked_;
    if (running_since_.has_value()) ReportBound(actions);
    return actions;
  }
  entry->held.push_back({id, now, false, std::move(contents), parsed});
  if (running_since_.has_value() && entry->held.size() == 1) Compare(*entry, actions);
  return actions;
}

Actions OutputComparison::OnStandbyFrame(absl::Duration now, uint32_t device_id, absl::string_view contents) {
  Actions actions;
  if (!running_since_.has_value()) return actions;
  const packet::Frame parsed = packet::Parse(contents);
  Entry* entry = FindOrAdd(device_id, parsed);
  if (entry == nullptr || statistics_.standby_bytes + contents.size() > settings_.standby_bytes_max) {
    // What only the standby says of its neighbours is no difference, nor is that there is no room for it.
    const bool matters = parsed.kind != packet::Kind::kNeighbour && parsed.kind != packet::Kind::kOther &&
                         parsed.kind != packet::Kind::kMalformed;
    if (matters && entry == nullptr) ReportBound(actions);
    if (matters && entry != nullptr) {
      Report(entry, {DifferenceReason::kBound, "the standby is too far ahead in all flows together"}, actions);
    }
    return actions;
  }
  if (entry->different) return actions;
  if (std::optional<Difference> difference = entry->flow->OnStandby(now, parsed, contents); difference.has_value()) {
    Report(entry, *std::move(difference), actions);
  }
  Compare(*entry, actions);
  return actions;
}

void OutputComparison::OnEpochEnd(absl::Duration now) {
  OnStandbyStopped();
  epoch_ended_ = now;
  offsets_ = 0;
  bound_reported_ = false;
  untracked_ended_ = untracked_;
  for (Entry* entry : recent_) {
    entry->different = false;
    entry->flow->OnEpochEnd();
    for (HeldFrame& frame : entry->held) frame.ended = true;
    Account(*entry);
  }
}

void OutputComparison::OnCommit() {
  statistics_.committed += untracked_ended_;
  statistics_.held -= untracked_ended_;
  untracked_ -= untracked_ended_;
  untracked_ended_ = 0;
  for (Entry* entry : recent_) {
    while (!entry->held.empty() && entry->held.front().ended) {
      entry->flow->OnLeft(entry->held.front());
      entry->held.pop_front();
      ++statistics_.committed;
      --statistics_.held;
    }
    Account(*entry);
  }
  TrimHistories();
}

Actions OutputComparison::OnStandbyRunning(absl::Duration now) {
  Actions actions;
  running_since_ = now;
  lag_ = now - epoch_ended_.value_or(now);
  if (untracked_ > 0) ReportBound(actions);
  for (Entry* entry : recent_) Compare(*entry, actions);
  // Each flow's are in order; so are they all.
  std::sort(actions.release.begin(), actions.release.end());
  return actions;
}

void OutputComparison::OnStandbyStopped() {
  running_since_.reset();
  for (const Deadline& deadline : deadlines_) deadline.second->deadline.reset();
  deadlines_.clear();
}

void OutputComparison::OnAllLeft() { ForgetAll(); }

void OutputComparison::OnAllDropped() { ForgetAll(); }

void OutputComparison::ForgetAll() {
  OnStandbyStopped();
  recent_.clear();
  flows_.clear();
  untracked_ = untracked_ended_ = 0;
  offsets_ = 0;
  bound_reported_ = false;
  statistics_.held = statistics_.flows = statistics_.standby_bytes = statistics_.history_bytes = 0;
}

Actions OutputComparison::OnTime(absl::Duration now) {
  Actions actions;
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    Entry& entry = *deadlines_.begin()->second;
    const bool primarys = !entry.held.empty();
    Report(&entry,
           {primarys ? DifferenceReason::kPrimaryOnly : DifferenceReason::kStandbyOnly,
            absl::StrCat("only the ", primarys ? "primary" : "standby", " sent it for ",
                         absl::FormatDuration(settings_.timeout))},
           actions);
  }
  return actions;
}

std::optional<absl::Duration> OutputComparison::NextDeadline() const {
  if (deadlines_.empty()) return std::nullopt;
  return deadlines_.begin()->first;
}

OutputComparison::Entry* OutputComparison::FindOrAdd(uint32_t device_id, const packet::Frame& parsed) {
  const FlowKey key = FlowKeyOf(device_id, parsed);
  if (const auto found = flows_.find(key); found != flows_.end()) {
    Entry& entry = *found->second;
    recent_.splice(recent_.begin(), recent_, entry.recent);
    return &entry;
  }
  if (untracked_ > 0 || (flows_.size() >= settings_.flows_max && !EvictAnIdle())) return nullptr;
  auto entry = std::make_unique<Entry>();
  entry->key = key;
  entry->flow = NewFlowComparison(settings_, device_id, parsed);
  entry->recent = recent_.insert(recent_.begin(), entry.get());
  ++statistics_.flows;
  return flows_.emplace(key, std::move(entry)).first->second.get();
}

bool OutputComparison::EvictAnIdle() {
  int tries = kEvictionTries;
  for (auto entry = recent_.rbegin(); entry != recent_.rend() && tries > 0; ++entry, --tries) {
    if (!(*entry)->held.empty() || (*entry)->different || (*entry)->flow->StandbyAloneSince().has_value()) continue;
    Erase(**entry);
    return true;
  }
  return false;
}

void OutputComparison::Erase(Entry& entry) {
  if (entry.deadline.has_value()) deadlines_.erase({*entry.deadline, &entry});
  statistics_.standby_bytes -= entry.standby_bytes;
  statistics_.history_bytes -= entry.history_bytes;
  --statistics_.flows;
  recent_.erase(entry.recent);
  const FlowKey key = entry.key;
  flows_.erase(key);
}

void OutputComparison::Compare(Entry& entry, Actions& actions) {
  while (!entry.different && !entry.held.empty() && !entry.held.front().ended) {
    const size_t offsets_before = actions.offsets.size();
    Verdict verdict =
        entry.flow->Judge(entry.held.front(), settings_.offsets_per_epoch_max - offsets_, actions.offsets);
    offsets_ += actions.offsets.size() - offsets_before;
    if (verdict.kind == Verdict::Kind::kDiffers) Report(&entry, std::move(verdict.difference), actions);
    if (verdict.kind != Verdict::Kind::kLeaves) break;
    entry.flow->OnLeft(entry.held.front());
    actions.release.push_back(entry.held.front().id);
    entry.held.pop_front();
    ++statistics_.released;
    --statistics_.held;
  }
  Account(entry);
  SetDeadline(entry);
  TrimHistories();
}

void OutputComparison::Report(Entry* entry, Difference difference, Actions& actions) {
  if (entry->different) return;
  entry->different = true;
  ++statistics_.differences[static_cast<size_t>(difference.reason)];
  difference.text = absl::StrCat(ToString(entry->key), ": ", difference.text);
  actions.differences.push_back(std::move(difference));
  SetDeadline(*entry);
}

void OutputComparison::ReportBound(Actions& actions) {
  if (bound_reported_) return;
  bound_reported_ = true;
  ++statistics_.differences[static_cast<size_t>(DifferenceReason::kBound)];
  actions.differences.push_back(
      {DifferenceReason::kBound, absl::StrCat("more than ", settings_.flows_max, " flows are under way")});
}

void OutputComparison::SetDeadline(Entry& entry) {
  std::optional<absl::Duration> deadline;
  if (running_since_.has_value() && !entry.different) {
    std::optional<absl::Duration> since = entry.flow->StandbyAloneSince();
    if (!entry.held.empty()) since = std::max(entry.held.front().came + lag_, *running_since_);
    if (since.has_value()) deadline = *since + settings_.timeout;
  }
  if (deadline == entry.deadline) return;
  if (entry.deadline.has_value()) deadlines_.erase({*entry.deadline, &entry});
  entry.deadline = deadline;
  if (deadline.has_value()) deadlines_.insert({*deadline, &entry});
}

void OutputComparison::Account(Entry& entry) {
  const size_t standby = entry.flow->standby_bytes();
  const size_t history = entry.flow->history_bytes();
  statistics_.standby_bytes += standby - entry.standby_bytes;
  statistics_.history_bytes += history - entry.history_bytes;
  entry.standby_bytes = standby;
  entry.history_bytes = history;
}

void OutputComparison::TrimHistories() {
  if (statistics_.history_bytes <= settings_.history_bytes_max) return;
  for (auto entry = recent_.rbegin(); entry != recent_.rend(); ++entry) {
    if (statistics_.history_bytes <= settings_.history_bytes_max / 2) return;
    (*entry)->flow->ForgetHistory();
    Account(**entry);
  }
}

}  // namespace romulus::comparison
