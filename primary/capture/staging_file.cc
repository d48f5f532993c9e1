#include "primary/capture/staging_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

constexpr uint64_t kNeverTrimmedBelow = uint64_t{64} << 20;

}  // namespace

absl::StatusOr<StagingFile> StagingFile::New(const std::string& name) {
  UniqueFd file(memfd_create(name.c_str(), MFD_CLOEXEC));
  if (!file.valid()) return absl::ResourceExhaustedError(absl::StrCat("can't make a staging file: ", strerror(errno)));
  return StagingFile(std::move(file));
}

absl::StatusOr<UniqueFd> StagingFile::DuplicateFor(uint64_t length) const {
  struct stat status {};
  if (fstat(file_.get(), &status) != 0 || static_cast<uint64_t>(status.st_size) < length) {
    return absl::InvalidArgumentError(
        absl::StrCat("a staging file of ", status.st_size, " bytes can't hold a checkpoint of ", length));
  }
  UniqueFd copy(fcntl(file_.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return absl::ResourceExhaustedError(absl::StrCat("no descriptor is left: ", strerror(errno)));
  return copy;
}

void StagingFile::Trim(uint64_t length) {
  struct stat status {};
  if (fstat(file_.get(), &status) != 0) return;
  const auto size = static_cast<uint64_t>(status.st_size);
  if (size <= kNeverTrimmedBelow || length > size / 4) return;
  // A failure costs memory, nothing else.
  [[maybe_unused]] const int result =
      ftruncate(file_.get(), static_cast<off_t>(std::max(kNeverTrimmedBelow, length * 2)));
}

}  // namespace romulus
