#ifndef ROMULUS_COMMON_CODEC_PAGE_SLOTS_H_
#define ROMULUS_COMMON_CODEC_PAGE_SLOTS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/codec/page_memory.h"

namespace romulus {

// The page cache, as both ends have it: numbered slots, each with a page's contents and the digest that was taken when
// they were stored. Not thread safe.
class PageSlots {
 public:
  // bytes_max: of all pages' contents; less than a page: there are no slots.
  explicit PageSlots(uint64_t bytes_max) : memory_(bytes_max) {}

  uint32_t slots_max() const { return memory_.slots_max(); }
  // slot < slots_max().
  bool Holds(uint32_t slot) const { return slot < states_.size() && states_[slot].held; }
  // Of a slot that Holds.
  const char* Contents(uint32_t slot) const { return memory_.Contents(slot); }
  char* MutableContents(uint32_t slot) { return memory_.MutableContents(slot); }
  uint64_t digest(uint32_t slot) const { return states_[slot].digest; }

  // Copies a page into a slot.
  void Store(uint32_t slot, const char* page);
  // The contents of a slot that Holds were changed in place.
  void Restamp(uint32_t slot);
  // Holds nothing any more, and gives the memory back.
  void Clear();

  uint64_t memory_bytes() const;

 private:
  struct State {
    uint64_t digest = 0;
    bool held = false;
  };

  PageMemory memory_;
  std::vector<State> states_;
};

// A block's reference digest (block_format.h), of the digests of the slots that it refers to.
uint64_t ReferenceDigest(absl::Span<const uint64_t> digests);

}  // namespace romulus

#endif  // ROMULUS_COMMON_CODEC_PAGE_SLOTS_H_
