#include "primary/protection/pause_spreads.h"

namespace romulus {

void PauseSpreads::Add(const CheckpointSource::PauseParts& parts) {
  acknowledge_.Add(absl::ToInt64Nanoseconds(parts.acknowledge));
  suspend_.Add(absl::ToInt64Nanoseconds(parts.suspend));
  dirty_bitmap_.Add(absl::ToInt64Nanoseconds(parts.dirty_bitmap));
  page_copy_.Add(absl::ToInt64Nanoseconds(parts.page_copy));
  vcpu_state_.Add(absl::ToInt64Nanoseconds(parts.vcpu_state));
  standby_wait_.Add(absl::ToInt64Nanoseconds(parts.standby_wait));
  permit_wait_.Add(absl::ToInt64Nanoseconds(parts.permit_wait));
  resume_.Add(absl::ToInt64Nanoseconds(parts.resume));
  finish_resume_.Add(absl::ToInt64Nanoseconds(parts.finish_resume));
}

PauseSpreads::Spreads PauseSpreads::spreads() const {
  return {acknowledge_.spread(), suspend_.spread(),    dirty_bitmap_.spread(),
          page_copy_.spread(),   vcpu_state_.spread(), standby_wait_.spread(),
          permit_wait_.spread(), resume_.spread(),     finish_resume_.spread()};
}

}  // namespace romulus
