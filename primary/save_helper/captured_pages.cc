#include "primary/save_helper/captured_pages.h"

#include <string.h>

#include <utility>

#include "common/stream/stream_format.h"

namespace romulus {

using stream_format::kPageBytes;

CapturedPages::CapturedPages(size_t bytes_max) : slots_max_(bytes_max / kPageBytes) {}

bool CapturedPages::Unchanged(uint64_t frame, const char* page) {
  const auto known = slot_of_.find(frame);
  if (known == slot_of_.end()) return false;
  Slot& slot = slots_[known->second];
  slot.asked_for = true;
  slot.wanted_last = checkpoints_;
  return memcmp(Contents(known->second), page, kPageBytes) == 0;
}

void CapturedPages::Keep(uint64_t frame, const char* page) {
  if (slots_max_ == 0) return;
  const auto [known, is_new] = slot_of_.try_emplace(frame);
  if (is_new) {
    known->second = TakeSlot();
    slots_[known->second] = {frame, /*held=*/true, /*asked_for=*/false, checkpoints_};
  }
  memcpy(Contents(known->second), page, kPageBytes);
}

void CapturedPages::Forget(uint64_t frame) {
  const auto known = slot_of_.find(frame);
  if (known != slot_of_.end()) Free(known->second);
}

void CapturedPages::EndCheckpoint() {
  if (++checkpoints_ % kKeptIdle != 0) return;
  for (size_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot].held && checkpoints_ - slots_[slot].wanted_last > kKeptIdle) Free(slot);
  }
}

size_t CapturedPages::memory_bytes() const {
  return chunks_.size() * kChunkSlots * kPageBytes + slots_.capacity() * sizeof(Slot) +
         slot_of_.capacity() * sizeof(decltype(slot_of_)::value_type);
}

char* CapturedPages::Contents(size_t slot) {
  return chunks_[slot / kChunkSlots].get() + slot % kChunkSlots * kPageBytes;
}

void CapturedPages::Free(size_t slot) {
  slot_of_.erase(slots_[slot].frame);
  slots_[slot] = {};
  free_.push_back(slot);
}

size_t CapturedPages::TakeSlot() {
  if (!free_.empty()) {
    const size_t slot = free_.back();
    free_.pop_back();
    return slot;
  }
  if (slots_.size() < slots_max_) {
    if (slots_.size() == chunks_.size() * kChunkSlots) {
      chunks_.push_back(std::make_unique_for_overwrite<char[]>(kChunkSlots * kPageBytes));
    }
    slots_.emplace_back();
    return slots_.size() - 1;
  }
  while (true) {
    const size_t slot = hand_;
    hand_ = (hand_ + 1) % slots_.size();
    if (!std::exchange(slots_[slot].asked_for, false)) {
      slot_of_.erase(slots_[slot].frame);
      return slot;
    }
  }
}

}  // namespace romulus
