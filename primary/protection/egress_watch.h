#ifndef ROMULUS_PRIMARY_PROTECTION_EGRESS_WATCH_H_
#define ROMULUS_PRIMARY_PROTECTION_EGRESS_WATCH_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "netbuf/egress_buffer.h"
#include "netbuf/hold_time_meter.h"

namespace romulus {

// Watches how full a protection's egress buffer is: the kernel gives no notice. Keeps the counters of the last look,
// the times held, and says when output presses. Decides nothing and changes nothing. Not thread safe.
class EgressWatch {
 public:
  struct Options {
    // Between two looks while output is held. The default is right for a limit that the link fills in 80 ms or more
    // (EgressSamplePeriod in netbuf/egress_sizing.h).
    absl::Duration period = absl::Milliseconds(10);
    // Output presses from this share of the limit on. Half: a guest that took some time to fill one half will not fill
    // the other sooner, and so leaves a checkpoint as long to be taken and committed as it took to make one necessary.
    // More would leave less; less would pause guests more often that were in no danger. Above 100: never.
    uint32_t high_water_percent = 50;
    // How many watches there are on this thread; they keep count themselves. Null: it is the only one.
    std::shared_ptr<int> watches;
  };

  // `buffer` outlives it.
  EgressWatch(EgressBuffer* buffer, const Options& options);
  ~EgressWatch();
  EgressWatch(const EgressWatch&) = delete;
  EgressWatch& operator=(const EgressWatch&) = delete;

  // A look: one netlink round trip per vif. What can't be read stays as it was.
  void Look(absl::Duration now);

  // What was done to the buffer, right after it was done.
  void OnOpenEpoch(absl::Duration now);
  void OnReleaseEpoch(absl::Duration now);
  void OnPassThrough(absl::Duration now);
  void OnDiscard();

  // By the last look, what a vif holds behind the last mark, which only a further checkpoint can release, fills its
  // buffer to the high-water mark. (What stands before the mark leaves with the checkpoint that is on its way.)
  bool pressed() const;

  // As of the last look.
  const EgressBuffer::Statistics& statistics() const { return statistics_; }
  // By vif, as in statistics().vifs.
  std::vector<HoldTimeMeter::Spread> times_held() const;

  // Dropped since the last call of this, by vif as above.
  std::vector<uint64_t> TakeNewDrops();

  // Until the next look, given that the last one took `cost` of this thread: looking takes at most a hundredth of it,
  // and that of all watches at most a tenth.
  absl::Duration NextPeriod(absl::Duration cost);

 private:
  EgressBuffer* const buffer_;
  const Options options_;
  EgressBuffer::Statistics statistics_;
  std::vector<HoldTimeMeter> meters_;
  std::vector<uint64_t> drops_told_;
  absl::Duration usual_cost_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_PROTECTION_EGRESS_WATCH_H_
