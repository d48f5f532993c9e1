#ifndef ROMULUS_PRIMARY_COMPARISON_OUTPUT_COMPARISON_H_
#define ROMULUS_PRIMARY_COMPARISON_OUTPUT_COMPARISON_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/packet/frame.h"
#include "primary/comparison/comparison_types.h"
#include "primary/comparison/flow_key.h"

namespace romulus::comparison {

// Which of the frames that the primary's guest sent may leave, because the standby that runs along has produced the
// same. Pure: frames and times in, Actions out. README.md has the rules per protocol.
//
// What it guarantees, whatever it is fed: a frame is released here only while the standby runs, only once, in the order
// of its flow, and only if the standby that runs along from the last checkpoint has itself sent the same since, or (a
// repeat) the same has left before. Everything else waits for a checkpoint. So it may be wrong in one way only: to hold
// what could have left.
//
// Call order (E: an epoch of the primary's guest):
//   OnPrimaryFrame*                      any time: frames of the present epoch
//   OnEpochEnd                           the primary's guest is suspended. What is held is of the epoch that ended, and
//                                        leaves by commit only; what the standby sent is void
//   OnCommit                             the frames of the ended epoch have left. Before the next OnEpochEnd
//   OnStandbyRunning                     the standby runs from the checkpoint that ended the epoch: from here on it
//   counts OnStandbyFrame*                      what it has sent since; before OnStandbyRunning they are ignored
//   OnStandbyStopped                     nothing is released from here to the next OnStandbyRunning
//   OnAllLeft, OnAllDropped              any time: what is held left otherwise, or never will; the standby is stopped
// Times are of one monotonic clock. Not thread safe.
class OutputComparison {
 public:
  explicit OutputComparison(const Settings& settings);
  OutputComparison(const OutputComparison&) = delete;
  OutputComparison& operator=(const OutputComparison&) = delete;
  ~OutputComparison();

  // Ids ascend over the object's life. `contents` starts with the Ethernet header; it is shared, not copied, and given
  // back when the frame has left.
  Actions OnPrimaryFrame(absl::Duration now, FrameId id, uint32_t device_id,
                         std::shared_ptr<const std::string> contents);
  Actions OnStandbyFrame(absl::Duration now, uint32_t device_id, absl::string_view contents);

  void OnEpochEnd(absl::Duration now);
  void OnCommit();
  Actions OnStandbyRunning(absl::Duration now);
  void OnStandbyStopped();
  void OnAllLeft();
  void OnAllDropped();

  // Looks for output that only one guest produced. To be called at NextDeadline, or later.
  Actions OnTime(absl::Duration now);
  // Nullopt: nothing waits for a time.
  std::optional<absl::Duration> NextDeadline() const;

  bool standby_runs() const { return running_since_.has_value(); }

  struct Statistics {
    uint64_t released = 0;   // Frames, by comparison.
    uint64_t committed = 0;  // Frames, by commit.
    size_t held = 0;         // Frames, now.
    size_t flows = 0;
    size_t standby_bytes = 0;  // Kept of what the standby sent and the primary has not yet.
    size_t history_bytes = 0;  // Kept of what has left.
    // By DifferenceReason: flows that were found different.
    std::array<uint64_t, kDifferenceReasons> differences{};
  };
  const Statistics& statistics() const { return statistics_; }

 private:
  // One flow.
  struct Entry;
  using Deadline = std::pair<absl::Duration, Entry*>;

  // Null: there is no room for another flow.
  Entry* FindOrAdd(uint32_t device_id, const packet::Frame& parsed);
  bool EvictAnIdle();
  void Erase(Entry& entry);
  // Releases what may leave of the flow.
  void Compare(Entry& entry, Actions& actions);
  void Report(Entry* entry, Difference difference, Actions& actions);
  // A flow, or what only one guest sent of it, found no room.
  void ReportBound(Actions& actions);
  void SetDeadline(Entry& entry);
  // Brings the sums of what is kept up to date.
  void Account(Entry& entry);
  void TrimHistories();
  void ForgetAll();

  const Settings settings_;
  absl::flat_hash_map<FlowKey, std::unique_ptr<Entry>> flows_;
  std::list<Entry*> recent_;      // Most recently used first.
  std::set<Deadline> deadlines_;  // Empty while no standby runs.
  // Held frames that found no room: while there is one, no flow is added, or a later frame could overtake it.
  uint64_t untracked_ = 0;
  uint64_t untracked_ended_ = 0;  // Of them, of the ended epoch.
  bool bound_reported_ = false;   // In this epoch.
  std::optional<absl::Duration> running_since_;
  std::optional<absl::Duration> epoch_ended_;
  // How much later than the primary's guest the standby went on from the checkpoint, at most.
  absl::Duration lag_;
  uint32_t offsets_ = 0;  // Asked for in this epoch.
  FrameId last_id_ = 0;
  Statistics statistics_;
};

}  // namespace romulus::comparison

#endif  // ROMULUS_PRIMARY_COMPARISON_OUTPUT_COMPARISON_H_
