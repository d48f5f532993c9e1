#ifndef ROMULUS_COMMON_LINK_FAIR_PACER_H_
#define ROMULUS_COMMON_LINK_FAIR_PACER_H_

#include <cstdint>
#include <map>
#include <optional>

#include "absl/time/time.h"

namespace romulus {

// Decides which of several flows may send its next chunk, and when, under a limit for all of them together and one for
// each. Pure: `now` is any monotonic clock that never goes back. Not thread safe.
//
// The limits are kept as a chunk's own time: after a chunk of n bytes at r bytes per second the next one is due n/r
// later. Time in which nothing was sent gives no credit, but for the 10 ms by which a thread may be waked too late: no
// burst is longer than that and one chunk.
// The common limit is shared by start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996): each chunk begins, in
// virtual time, where its flow's last one ended, but no earlier than what is being sent; the earliest goes first. Flows
// that always have something get equal parts, whatever the size of their chunks; one that has been idle waits for at
// most one chunk of each other flow.
class FairPacer {
 public:
  using FlowId = uint64_t;

  // Bytes per second; 0: no limit.
  void SetLimit(uint64_t bytes_per_second) { limit_ = bytes_per_second; }
  void SetFlowLimit(FlowId flow, uint64_t bytes_per_second) { flows_[flow].limit = bytes_per_second; }
  void RemoveFlow(FlowId flow) { flows_.erase(flow); }

  // `flow` has a chunk of `bytes` to send. One at a time.
  void Request(FlowId flow, uint64_t bytes);
  // It does not want to any more.
  void Withdraw(FlowId flow);

  // The flow whose chunk goes now, if any: it is taken for sent. Call again until there is none.
  std::optional<FlowId> TakeNext(absl::Duration now);
  // When TakeNext will have one, unless something changes; infinite: nobody waits.
  absl::Duration NextTime() const;

 private:
  struct Flow {
    uint64_t limit = 0;
    uint64_t requested = 0;  // 0: nothing.
    double start = 0;        // Of the request, in virtual bytes.
    double finish = 0;       // Of the last chunk.
    absl::Duration due = -absl::InfiniteDuration();
  };

  uint64_t limit_ = 0;
  absl::Duration due_ = -absl::InfiniteDuration();
  double virtual_time_ = 0;  // Start of the chunk that was taken last.
  std::map<FlowId, Flow> flows_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_FAIR_PACER_H_
