#include "common/codec/page_memory.h"

#include <algorithm>
#include <cstring>

#include "common/base/log.h"
#include "common/codec/block_format.h"

namespace romulus {
namespace {

constexpr size_t kPage = block_format::kUnitBytes;

}  // namespace

PageMemory::PageMemory(uint64_t bytes_max)
    : slots_max_(static_cast<uint32_t>(std::min<uint64_t>(bytes_max / kPage, uint64_t{1} << 31))) {}

size_t PageMemory::Offset(uint32_t slot) { return slot % kChunkSlots * kPage; }

size_t PageMemory::ChunkBytes(size_t chunk) const {
  return std::min<size_t>(kChunkSlots, slots_max_ - chunk * kChunkSlots) * kPage;
}

void PageMemory::Store(uint32_t slot, const char* page) {
  ROMULUS_CHECK(slot < slots_max_);
  const size_t chunk = slot / kChunkSlots;
  if (chunk >= chunks_.size()) chunks_.resize(chunk + 1);
  if (chunks_[chunk] == nullptr) chunks_[chunk].reset(new char[ChunkBytes(chunk)]);
  memcpy(MutableContents(slot), page, kPage);
}

uint64_t PageMemory::memory_bytes() const {
  uint64_t bytes = chunks_.capacity() * sizeof(chunks_[0]);
  for (size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
    if (chunks_[chunk] != nullptr) bytes += ChunkBytes(chunk);
  }
  return bytes;
}

}  // namespace romulus
