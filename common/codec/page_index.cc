#include "common/codec/page_index.h"

#include <algorithm>
#include <bit>

#include "common/base/log.h"

namespace romulus {

PageIndex::PageIndex(uint32_t slots) : slots_max_(slots) {}

size_t PageIndex::Home(uint64_t key) const {
  // Fibonacci hashing: frame numbers come in runs.
  return static_cast<size_t>((key * 0x9e3779b97f4a7c15) >> (64 - std::countr_zero(table_.size())));
}

size_t PageIndex::Locate(uint64_t key) const {
  size_t place = Home(key);
  while (table_[place] != kEmpty && slots_[table_[place]].key != key) place = (place + 1) & (table_.size() - 1);
  return place;
}

std::optional<uint32_t> PageIndex::Find(uint64_t key) {
  if (used_ == 0) return std::nullopt;
  const uint32_t slot = table_[Locate(key)];
  if (slot == kEmpty) return std::nullopt;
  slots_[slot].used_in = epoch_;
  return slot;
}

std::optional<uint32_t> PageIndex::Insert(uint64_t key, bool may_evict) {
  const std::optional<uint32_t> slot = FreeSlot(may_evict);
  if (!slot.has_value()) return std::nullopt;
  if (2 * (used_ + 1) > table_.size()) GrowTable();
  const size_t place = Locate(key);
  ROMULUS_CHECK(table_[place] == kEmpty);
  table_[place] = *slot;
  slots_[*slot] = {.key = key, .used_in = epoch_};
  ++used_;
  return slot;
}

void PageIndex::Erase(uint64_t key) {
  if (used_ == 0) return;
  const size_t place = Locate(key);
  if (table_[place] == kEmpty) return;
  free_.push_back(table_[place]);
  RemoveAt(place);
}

void PageIndex::EraseIdle(uint32_t epochs) {
  std::vector<uint64_t> idle;
  for (const uint32_t slot : table_) {
    if (slot != kEmpty && epoch_ - slots_[slot].used_in > epochs) idle.push_back(slots_[slot].key);
  }
  for (const uint64_t key : idle) Erase(key);
}

uint64_t PageIndex::memory_bytes() const {
  return slots_.capacity() * sizeof(Slot) + (free_.capacity() + table_.capacity()) * sizeof(uint32_t);
}

void PageIndex::Clear() {
  slots_.clear();
  free_.clear();
  std::fill(table_.begin(), table_.end(), kEmpty);
  used_ = 0;
}

std::optional<uint32_t> PageIndex::FreeSlot(bool may_evict) {
  if (!free_.empty()) {
    const uint32_t slot = free_.back();
    free_.pop_back();
    return slot;
  }
  if (slots_.size() < slots_max_) {
    slots_.emplace_back();
    return static_cast<uint32_t>(slots_.size() - 1);
  }
  if (!may_evict || slots_.empty()) return std::nullopt;
  // No slot is free: all are used.
  uint32_t oldest = NextRandom() % slots_.size();
  for (int i = 1; i < kCandidates; ++i) {
    const uint32_t slot = NextRandom() % slots_.size();
    if (epoch_ - slots_[slot].used_in > epoch_ - slots_[oldest].used_in) oldest = slot;
  }
  if (epoch_ - slots_[oldest].used_in < kSparedEpochs) return std::nullopt;
  RemoveAt(Locate(slots_[oldest].key));
  ++evictions_;
  return oldest;
}

// xorshift64: any will do, and the same every time is easier to follow.
uint32_t PageIndex::NextRandom() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return static_cast<uint32_t>(random_ >> 32);
}

// Backward shift: no tombstones, so a lookup stays short however long the cache lives.
void PageIndex::RemoveAt(size_t place) {
  const size_t mask = table_.size() - 1;
  --used_;
  size_t hole = place;
  for (size_t next = (hole + 1) & mask; table_[next] != kEmpty; next = (next + 1) & mask) {
    const size_t home = Home(slots_[table_[next]].key);
    // It may move to the hole only if its home is not between the two.
    if (((next - home) & mask) >= ((next - hole) & mask)) {
      table_[hole] = table_[next];
      hole = next;
    }
  }
  table_[hole] = kEmpty;
}

void PageIndex::GrowTable() {
  std::vector<uint32_t> old(std::max(kTableMin, 2 * table_.size()), kEmpty);
  old.swap(table_);
  for (const uint32_t slot : old) {
    if (slot != kEmpty) table_[Locate(slots_[slot].key)] = slot;
  }
}

}  // namespace romulus
