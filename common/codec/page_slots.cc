#include "common/codec/page_slots.h"

#include <algorithm>
#include <cstring>

#include "common/base/log.h"
#include "common/codec/block_format.h"
#include "common/stream/stream_digest.h"

namespace romulus {
namespace {

constexpr size_t kPage = block_format::kUnitBytes;

}  // namespace

PageSlots::PageSlots(uint64_t bytes_max)
    : slots_max_(static_cast<uint32_t>(std::min<uint64_t>(bytes_max / kPage, uint64_t{1} << 31))) {}

size_t PageSlots::Offset(uint32_t slot) { return slot % kChunkSlots * kPage; }

void PageSlots::Store(uint32_t slot, const char* page) {
  ROMULUS_CHECK(slot < slots_max_);
  const size_t chunk = slot / kChunkSlots;
  if (chunk >= chunks_.size()) chunks_.resize(chunk + 1);
  if (chunks_[chunk] == nullptr) {
    chunks_[chunk].reset(new char[std::min(kChunkSlots, slots_max_ - slot / kChunkSlots * kChunkSlots) * kPage]);
  }
  if (slot >= states_.size()) states_.resize(std::min(slots_max_, (slot / kChunkSlots + 1) * kChunkSlots));
  memcpy(MutableContents(slot), page, kPage);
  states_[slot].held = true;
  Restamp(slot);
}

void PageSlots::Restamp(uint32_t slot) {
  states_[slot].digest = Digest(absl::MakeConstSpan(Contents(slot), kPage));
}

void PageSlots::Clear() {
  chunks_.clear();
  states_.clear();
}

uint64_t PageSlots::memory_bytes() const {
  uint64_t bytes = states_.capacity() * sizeof(State) + chunks_.capacity() * sizeof(chunks_[0]);
  for (size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
    if (chunks_[chunk] != nullptr) {
      bytes += std::min<uint64_t>(kChunkSlots, slots_max_ - chunk * kChunkSlots) * kPage;
    }
  }
  return bytes;
}

uint64_t ReferenceDigest(absl::Span<const uint64_t> digests) {
  if (digests.empty()) return 0;
  return Digest(absl::MakeConstSpan(reinterpret_cast<const char*>(digests.data()), digests.size() * sizeof(digests[0])));
}

}  // namespace romulus
