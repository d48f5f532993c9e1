#ifndef ROMULUS_PRIMARY_PROTECTION_PAUSE_SPREADS_H_
#define ROMULUS_PRIMARY_PROTECTION_PAUSE_SPREADS_H_

#include "common/base/recent_spread.h"
#include "primary/checkpoint_source.h"

namespace romulus {

// Where the pauses of the last 1024 checkpoints went: the spread of each of CheckpointSource::PauseParts, by itself.
// (So the parts' p99 do not sum up to the p99 of the pause.) Not thread safe.
class PauseSpreads {
 public:
  // In nanoseconds.
  struct Spreads {
    RecentSpread::Spread acknowledge, suspend, dirty_bitmap, page_copy, vcpu_state, standby_wait, permit_wait, resume,
        finish_resume;
  };

  void Add(const CheckpointSource::PauseParts& parts);
  Spreads spreads() const;

 private:
  RecentSpread acknowledge_, suspend_, dirty_bitmap_, page_copy_, vcpu_state_, standby_wait_, permit_wait_, resume_,
      finish_resume_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_PROTECTION_PAUSE_SPREADS_H_
