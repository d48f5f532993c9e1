#ifndef ROMULUS_COMMON_CODEC_PAGE_SLOTS_H_
#define ROMULUS_COMMON_CODEC_PAGE_SLOTS_H_

#include <cstdint>
#include <vector>

#include "common/codec/page_memory.h"

namespace romulus {

// The page cache, as both ends have it: numbered slots for pages' contents. Not thread safe.
class PageSlots {
 public:
  // bytes_max: of all pages' contents; less than a page: there are no slots.
  explicit PageSlots(uint64_t bytes_max) : memory_(bytes_max) {}

  uint32_t slots_max() const { return memory_.slots_max(); }
  // slot < slots_max().
  bool Holds(uint32_t slot) const { return slot < held_.size() && held_[slot]; }
  // Of a slot that Holds.
  const char* Contents(uint32_t slot) const { return memory_.Contents(slot); }
  char* MutableContents(uint32_t slot) { return memory_.MutableContents(slot); }

  // Copies a page into a slot.
  void Store(uint32_t slot, const char* page);
  // Holds nothing any more, and gives the memory back.
  void Clear();

  uint64_t memory_bytes() const;

 private:
  PageMemory memory_;
  std::vector<bool> held_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CODEC_PAGE_SLOTS_H_
