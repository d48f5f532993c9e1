#ifndef ROMULUS_PRIMARY_SAVE_HELPER_CAPTURED_PAGES_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_CAPTURED_PAGES_H_

#include <cstddef>
#include <cstdint>

#include "common/codec/page_index.h"
#include "common/codec/page_memory.h"

namespace romulus {

// What a guest's pages held when they were last captured, in bounded memory. A page that is dirty but holds what it
// held then need not be in the next checkpoint: whoever has all checkpoints before has it already. Most of the pages
// that a guest dirties by being suspended are such pages.
//
// Where there is no room for all, those that were asked for in this checkpoint or the last one stay (PageIndex). Not
// thread safe.
class CapturedPages {
 public:
  // bytes_max: of contents; less than a page: it knows none. Memory is taken as it is needed, for good.
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

  size_t memory_bytes() const { return memory_.memory_bytes() + index_.memory_bytes(); }

 private:
  PageMemory memory_;
  PageIndex index_;
  uint32_t checkpoints_ = 0;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_CAPTURED_PAGES_H_
