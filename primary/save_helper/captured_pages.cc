#include "primary/save_helper/captured_pages.h"

#include <optional>

#include "common/codec/page_delta.h"

namespace romulus {

CapturedPages::CapturedPages(size_t bytes_max) : memory_(bytes_max), index_(memory_.slots_max()) {}

bool CapturedPages::Unchanged(uint64_t frame, const char* page) {
  const std::optional<uint32_t> slot = index_.Find(frame);
  return slot.has_value() && SamePage(memory_.Contents(*slot), page);
}

void CapturedPages::Keep(uint64_t frame, const char* page) {
  std::optional<uint32_t> slot = index_.Find(frame);
  if (!slot.has_value()) slot = index_.Insert(frame, /*may_evict=*/true);
  if (slot.has_value()) memory_.Store(*slot, page);
}

void CapturedPages::Forget(uint64_t frame) { index_.Erase(frame); }

void CapturedPages::EndCheckpoint() {
  index_.BeginEpoch();
  if (++checkpoints_ % kKeptIdle == 0) index_.EraseIdle(kKeptIdle);
}

}  // namespace romulus
