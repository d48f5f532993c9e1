#ifndef ROMULUS_COMMON_ATTACHMENTS_GRANT_WRITERS_H_
#define ROMULUS_COMMON_ATTACHMENTS_GRANT_WRITERS_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"

extern "C" {
#include <xenctrl.h>
// After it: the tools' own declarations.
#include <xen/grant_table.h>
}

namespace romulus {

// What let others write to a domain's pages, and does so no more.
struct GrantWriters {
  // The frames of the entries that are in use, in ascending order: nobody can take those back.
  std::vector<uint64_t> in_use;
  // All others, which were: their index in `entries`, and the flags that they had.
  std::vector<std::pair<size_t, uint16_t>> taken_back;
};

// Takes back each of `entries` (a table of version 1, of a domain that does not run, or a part of it) that lets
// somebody write to a page and is not in use, as its owner may: in one step, so that Xen, which marks an entry in use
// in one step, too, has used it before or finds it gone.
GrantWriters TakeBackWriters(absl::Span<grant_entry_v1_t> entries);

// The entries as they were.
void GiveBackWriters(absl::Span<grant_entry_v1_t> entries, const GrantWriters& writers);

}  // namespace romulus

#endif  // ROMULUS_COMMON_ATTACHMENTS_GRANT_WRITERS_H_
