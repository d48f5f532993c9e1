#ifndef ROMULUS_PRIMARY_SAVE_HELPER_CAPTURED_PAGES_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_CAPTURED_PAGES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace romulus {

// What a guest's pages held when they were last captured, in bounded memory. A page that is dirty but holds what it
// held then need not be in the next checkpoint: whoever has all checkpoints before has it already. Most of the pages
// that a guest dirties by being suspended are such pages.
//
// Of the pages that it knows, those that have not been asked for for longest go first. Not thread safe.
class CapturedPages {
 public:
  // bytes_max: of contents; less than a page: it knows none. Their memory is taken as it is needed, for good.
  explicit CapturedPages(size_t bytes_max);

  // `page`, 4096 bytes, holds what was kept of `frame`. Allocates nothing: for while the guest is suspended.
  bool Unchanged(uint64_t frame, const char* page);

  // `page` is what the next checkpoint has of `frame`.
  void Keep(uint64_t frame, const char* page);
  // No checkpoint has contents of `frame` any more.
  void Forget(uint64_t frame);
  // Once per checkpoint. What was not asked for during the last kKeptIdle to 2 kKeptIdle of them is forgotten: which
  // pages a guest writes to changes slowly, and all that it ever wrote to would fill any memory.
  void EndCheckpoint();
  static constexpr uint32_t kKeptIdle = 256;

  size_t memory_bytes() const;

 private:
  static constexpr size_t kChunkSlots = 256;
  struct Slot {
    uint64_t frame = 0;
    bool held = false;
    bool asked_for = false;    // Since TakeSlot last came by.
    uint32_t wanted_last = 0;  // Asked for, or taken: at this checkpoint.
  };

  char* Contents(size_t slot);
  size_t TakeSlot();
  void Free(size_t slot);

  const size_t slots_max_;
  std::vector<std::unique_ptr<char[]>> chunks_;
  std::vector<Slot> slots_;
  absl::flat_hash_map<uint64_t, size_t> slot_of_;
  std::vector<size_t> free_;
  size_t hand_ = 0;
  uint32_t checkpoints_ = 0;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_CAPTURED_PAGES_H_
