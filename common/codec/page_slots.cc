#include "common/codec/page_slots.h"

namespace romulus {

void PageSlots::Store(uint32_t slot, const char* page) {
  memory_.Store(slot, page);
  if (slot >= held_.size()) held_.resize(slot + 1);
  held_[slot] = true;
}

void PageSlots::Clear() {
  memory_.Clear();
  held_.clear();
}

uint64_t PageSlots::memory_bytes() const { return memory_.memory_bytes() + held_.capacity() / 8; }

}  // namespace romulus
