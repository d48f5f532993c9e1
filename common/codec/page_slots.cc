#include "common/codec/page_slots.h"

#include "common/codec/block_format.h"
#include "common/stream/stream_digest.h"

namespace romulus {

void PageSlots::Store(uint32_t slot, const char* page) {
  memory_.Store(slot, page);
  if (slot >= states_.size()) states_.resize(slot + 1);
  states_[slot].held = true;
  Restamp(slot);
}

void PageSlots::Restamp(uint32_t slot) {
  states_[slot].digest = Digest(absl::MakeConstSpan(Contents(slot), block_format::kUnitBytes));
}

void PageSlots::Clear() {
  memory_.Clear();
  states_.clear();
}

uint64_t PageSlots::memory_bytes() const { return memory_.memory_bytes() + states_.capacity() * sizeof(State); }

uint64_t ReferenceDigest(absl::Span<const uint64_t> digests) {
  if (digests.empty()) return 0;
  return Digest(absl::MakeConstSpan(reinterpret_cast<const char*>(digests.data()), digests.size() * sizeof(digests[0])));
}

}  // namespace romulus
