#ifndef ROMULUS_NETBUF_HOLD_TIME_METER_H_
#define ROMULUS_NETBUF_HOLD_TIME_METER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

#include "absl/time/time.h"

namespace romulus {

// How long a vif's packets are held: the time from a packet's arrival in the buffer to its release. Nobody looks at a
// single packet: the kernel's counters are read now and then, and the marks and releases of the buffer are known.
//
// Resolution: packets that arrived between two readings count as spread evenly over that time, so a packet's time is
// wrong by less than the time between two readings, and a percentile of many packets by much less. A release counts
// from the moment at which it was ordered; the kernel sends within microseconds to some milliseconds of it. How many
// packets arrived between two readings follows from their bytes and the mean size of those held at the second one.
//
// Pure; not thread safe. Times are of one monotonic clock and do not go backwards. Calls, by what was done to the
// buffer:
//   OpenEpoch      OnReading, OnMark
//   ReleaseEpoch   OnRelease
//   PassThrough    OnPassThrough: all leaves, and what then passes is not held and does not count, until OnMark
//   Discard        OnDiscard: what is held has no time; likewise until OnMark
class HoldTimeMeter {
 public:
  struct Reading {
    uint64_t held_packets = 0;
    uint64_t held_bytes = 0;
    uint64_t sent_bytes = 0;
  };
  void OnReading(absl::Duration now, const Reading& reading);

  // What has arrived by the last reading stands before the mark, which takes the place of one that was not released.
  void OnMark();
  // What stands before the mark leaves.
  void OnRelease(absl::Duration now);
  void OnPassThrough(absl::Duration now);
  void OnDiscard();

  // Arrived by the last reading and behind the mark: what only a later checkpoint releases. 0 while packets pass.
  uint64_t unmarked_bytes() const;

  struct Spread {
    absl::Duration p50;
    absl::Duration p99;
    absl::Duration max;
  };
  // Over the packets of the last kRemembered readings that found some, and were released. Zeros while there are none.
  static constexpr size_t kRemembered = 1024;
  Spread spread() const;

 private:
  // What arrived between two readings.
  struct Arrivals {
    absl::Duration from;
    absl::Duration to;
    uint64_t end_bytes = 0;  // Position, in all that has ever arrived, of the last of them.
    double packets = 0;
  };
  // Packets whose times lie evenly between two.
  struct Held {
    absl::Duration shortest;
    absl::Duration longest;
    double packets = 0;
  };

  void ReleaseUpTo(uint64_t end_bytes, absl::Duration now);
  // A buffer that is held for hours must not grow what is known of it: half as exact, half as long.
  void HalveResolution();
  absl::Duration Quantile(double share) const;

  bool holding_ = false;
  std::optional<absl::Duration> last_reading_;
  uint64_t arrived_bytes_ = 0;
  uint64_t mark_ = 0;  // Position of the last mark.
  bool marked_ = false;
  std::deque<Arrivals> arrivals_;  // Not released, oldest first.
  std::deque<Held> released_;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_HOLD_TIME_METER_H_
