#ifndef ROMULUS_SECONDARY_STANDBY_STANDBY_GAPS_H_
#define ROMULUS_SECONDARY_STANDBY_STANDBY_GAPS_H_

#include <cstdint>

#include "secondary/checkpoint_target.h"

namespace romulus {

// The gaps of a standby that runs along: counts and sums, from which a mean over any time can be had, and the last one.
struct StandbyGaps {
  uint64_t count = 0;
  StandbyGap last;
  StandbyGap sum;

  void Add(const StandbyGap& gap) {
    ++count;
    last = gap;
    for (absl::Duration StandbyGap::*part :
         {&StandbyGap::stop, &StandbyGap::list, &StandbyGap::checkpoint_wait, &StandbyGap::close, &StandbyGap::apply,
          &StandbyGap::attach, &StandbyGap::resume, &StandbyGap::connect}) {
      sum.*part += gap.*part;
    }
  }
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_STANDBY_STANDBY_GAPS_H_
