#ifndef ROMULUS_COMMON_CODEC_PAGE_MEMORY_H_
#define ROMULUS_COMMON_CODEC_PAGE_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace romulus {

// The contents of pages, in numbered slots. Memory grows with use, in chunks, to at most the bound. Not thread safe.
class PageMemory {
 public:
  // bytes_max: of all pages' contents; less than a page: there are no slots.
  explicit PageMemory(uint64_t bytes_max);

  uint32_t slots_max() const { return slots_max_; }
  // slot < slots_max(). Takes memory if it is the first slot of its chunk that is stored to.
  void Store(uint32_t slot, const char* page);
  // Of a slot that was stored to since the last Clear.
  const char* Contents(uint32_t slot) const { return chunks_[slot / kChunkSlots].get() + Offset(slot); }
  char* MutableContents(uint32_t slot) { return chunks_[slot / kChunkSlots].get() + Offset(slot); }
  // Gives the memory back.
  void Clear() { chunks_.clear(); }

  uint64_t memory_bytes() const;

 private:
  static constexpr uint32_t kChunkSlots = 256;
  static size_t Offset(uint32_t slot);
  size_t ChunkBytes(size_t chunk) const;

  const uint32_t slots_max_;
  std::vector<std::unique_ptr<char[]>> chunks_;  // Null where no slot was used yet.
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_CODEC_PAGE_MEMORY_H_
