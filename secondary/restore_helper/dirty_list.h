#ifndef ROMULUS_SECONDARY_RESTORE_HELPER_DIRTY_LIST_H_
#define ROMULUS_SECONDARY_RESTORE_HELPER_DIRTY_LIST_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "common/stream/page_runs.h"

namespace romulus {

// Reads one list from `pipe`, as xc_domain_restore writes it to its send_back_fd at each checkpoint of a COLO stream
// (send_checkpoint_dirty_pfn_list, 4.17): {u32 CHECKPOINT_DIRTY_PFN_LIST, u32 8 n, u64 frame[n]}. Blocks until it is
// whole. UNAVAILABLE: the pipe has ended. INVALID_ARGUMENT: something else is in it, frames in no order, or one at or
// beyond `gfn_count`.
absl::StatusOr<PageRuns> ReadDirtyList(int pipe, uint64_t gfn_count);

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_RESTORE_HELPER_DIRTY_LIST_H_
