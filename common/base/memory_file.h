#ifndef ROMULUS_COMMON_BASE_MEMORY_FILE_H_
#define ROMULUS_COMMON_BASE_MEMORY_FILE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/unique_fd.h"

namespace romulus {

// Files in memory, to give another process more than a message holds.
// RESOURCE_EXHAUSTED: no memory, or no descriptor.
absl::StatusOr<UniqueFd> NewMemoryFile(const char* name, absl::Span<const char> contents);

// Its first `size` bytes. INVALID_ARGUMENT: it has fewer.
absl::StatusOr<std::string> ReadMemoryFile(int file, size_t size);

}  // namespace romulus

#endif  // ROMULUS_COMMON_BASE_MEMORY_FILE_H_
