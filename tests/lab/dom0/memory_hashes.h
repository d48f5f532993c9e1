#ifndef ROMULUS_TESTS_LAB_DOM0_MEMORY_HASHES_H_
#define ROMULUS_TESTS_LAB_DOM0_MEMORY_HASHES_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/xen/handles.h"

namespace romulus::lab {

using PageHashes = std::vector<std::pair<uint64_t, uint64_t>>;

// {gfn, hash of the page} of all memory that a domain has, ascending. Its special pages (shared info, grant frames) are
// Xen's and not among them. The domain must not run.
// `copy`, if not null, gets the pages' contents in the same order.
absl::StatusOr<PageHashes> HashMemory(xc_interface* xc, uint32_t domid, std::string* copy);

// One page's contents; empty: there are none.
std::string ReadPage(uint32_t domid, uint64_t gfn);

}  // namespace romulus::lab

#endif  // ROMULUS_TESTS_LAB_DOM0_MEMORY_HASHES_H_
