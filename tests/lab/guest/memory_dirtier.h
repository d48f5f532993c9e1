#ifndef ROMULUS_TESTS_LAB_GUEST_MEMORY_DIRTIER_H_
#define ROMULUS_TESTS_LAB_GUEST_MEMORY_DIRTIER_H_

#include <cstddef>
#include <cstdint>

namespace romulus::lab {

// Dirties memory at a rate: walks through a working set, and in each page that it comes to overwrites one record with a
// counter and bytes that do not compress, as a store of small records would. The working set's first content does not
// compress either: neither zero pages nor text flatter whoever carries its pages.
//
// The rate is per second of the world's time, also of that which the guest spends suspended: what it could not write
// meanwhile it makes up for (of at most the last second). So a slower checkpointing does not meet a smaller load.
// Not thread-safe.
class MemoryDirtier {
 public:
  MemoryDirtier();

  // Readable when Tick has something to do; never while the rate is zero: a quiet guest must stay quiet.
  int timer() const { return timer_; }

  // From now on at this rate, in a new working set; a rate of zero stops and gives the memory back. False if the
  // working set can't be had: nothing is dirtied then.
  bool Set(uint64_t pages_per_second, uint64_t working_set_pages);
  void Tick();

  // Pages written since the start; a page that was visited twice counts twice.
  uint64_t pages_written() const { return pages_written_; }

 private:
  uint64_t NextRandom();
  void WriteRecord();

  const int timer_;
  char* memory_ = nullptr;
  uint64_t working_set_pages_ = 0;
  uint64_t pages_per_second_ = 0;
  uint64_t next_page_ = 0;
  uint64_t owed_ = 0;  // Pages times ticks per second.
  uint64_t pages_written_ = 0;
  uint64_t random_ = 0x9e3779b97f4a7c15u;
};

}  // namespace romulus::lab

#endif  // ROMULUS_TESTS_LAB_GUEST_MEMORY_DIRTIER_H_
