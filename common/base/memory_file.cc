#include "common/base/memory_file.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace romulus {

absl::StatusOr<UniqueFd> NewMemoryFile(const char* name, absl::Span<const char> contents) {
  UniqueFd file(memfd_create(name, MFD_CLOEXEC));
  while (file.valid() && !contents.empty()) {
    const ssize_t written = write(file.get(), contents.data(), contents.size());
    if (written < 0) break;
    contents.remove_prefix(static_cast<size_t>(written));
  }
  if (file.valid() && contents.empty()) return file;
  return absl::ResourceExhaustedError(absl::StrCat("can't make a file in memory: ", strerror(errno)));
}

absl::StatusOr<std::string> ReadMemoryFile(int file, size_t size) {
  std::string contents(size, '\0');
  for (size_t at = 0; at < size;) {
    const ssize_t got = pread(file, &contents[at], size - at, static_cast<off_t>(at));
    if (got <= 0) return absl::InvalidArgumentError(absl::StrCat("a file in memory ends at ", at, " of ", size));
    at += static_cast<size_t>(got);
  }
  return contents;
}

}  // namespace romulus
