#ifndef ROMULUS_COMMON_STREAM_DIRTY_PAGE_LIST_H_
#define ROMULUS_COMMON_STREAM_DIRTY_PAGE_LIST_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "common/stream/page_runs.h"
#include "proto/replication/v1/replication.pb.h"

namespace romulus {

// The pages that the standby's guest has dirtied, as DirtyPageList messages and back. Pure.

// Of one message: about 300 KiB at most, which every receiver takes.
constexpr size_t kDirtyRunsPerListMax = 16 << 10;
// Of one epoch, in all its messages: what either side holds of it, 4 MiB.
constexpr size_t kDirtyRunsMax = 256 << 10;

// No frame of an x86 guest with this much memory has this number, or a higher one: what lies below 4 GiB and is no
// memory (devices, special pages) shifts memory by 4 GiB at most.
uint64_t GuestFrameBound(uint64_t memory_max_kib);

// One message or more, the last with more = false. If there are more than kDirtyRunsMax runs, those that lie closest
// together are joined by naming the pages between them as well: they cost their transfer, and nothing else.
std::vector<replication::v1::DirtyPageList> DirtyPageListsOf(uint64_t epoch, PageRuns runs);

// Puts the lists of one epoch together again. Whoever sends them is not trusted.
class DirtyPageListReader {
 public:
  // No frame number is `gfn_bound` or higher.
  DirtyPageListReader(uint64_t epoch, uint64_t gfn_bound) : epoch_(epoch), gfn_bound_(gfn_bound) {}

  // INVALID_ARGUMENT: the list is of another epoch, follows the last one, or has runs that are empty, out of order,
  // out of range or too many; then nothing more is to be read, and what has come is worth nothing.
  absl::Status Add(const replication::v1::DirtyPageList& list);
  // The last one has come.
  bool complete() const { return complete_; }
  // Once complete, once.
  PageRuns Take();

 private:
  const uint64_t epoch_;
  const uint64_t gfn_bound_;
  PageRuns runs_;
  size_t runs_read_ = 0;
  bool complete_ = false;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_STREAM_DIRTY_PAGE_LIST_H_
