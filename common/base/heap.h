#ifndef ROMULUS_COMMON_BASE_HEAP_H_
#define ROMULUS_COMMON_BASE_HEAP_H_

#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

namespace romulus {

// Has malloc keep what is freed instead of giving it back to the kernel, and share it between threads. Buffers of a
// megabyte come and go with every checkpoint; each would be mapped afresh, and in a PV dom0 every page fault is a
// series of hypercalls: measured, they cost several times what copying the data does. The price is that the process
// stays as large as its largest checkpoint has made it. First thing in main().
//
// Only an environment variable has malloc ask for huge pages, too: deploy/systemd.
inline void KeepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 4 << 20);
  mallopt(M_ARENA_MAX, 1);
}

// Takes what is going to be needed at once, after KeepFreedMemory: later mallocs of up to `bytes` in all fault no page
// in, and a process whose needs vary from checkpoint to checkpoint does not creep up to the largest of them.
inline void TakeHeap(size_t bytes) {
  void* const memory = malloc(bytes);
  // Its pages, not only its addresses.
  if (memory != nullptr) explicit_bzero(memory, bytes);
  free(memory);
}

}  // namespace romulus

#endif  // ROMULUS_COMMON_BASE_HEAP_H_
