#include "primary/save_helper/staging_files.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus {
namespace {

// docs/specs/libxc-migration-stream: {u32 type, u32 length, body, padding to 8}; a PAGE_DATA body begins {u32 count}.
constexpr uint32_t kPageData = 1;
struct RecordStart {
  uint32_t type;
  uint32_t length;
  uint32_t page_count;
};

absl::Status FileError(const char* what) {
  return absl::InternalError(
      absl::StrCat("can't ", what, " a staging file: ", strerror(errno), " (errno ", errno, ")"));
}

}  // namespace

StagingFiles::StagingFiles(UniqueFd seeding_pipe, UniqueFd first, UniqueFd second)
    : io_(std::move(seeding_pipe)), files_{std::move(first), std::move(second)} {}

absl::Status StagingFiles::SwitchTo(int index) {
  ROMULUS_CHECK(index == 0 || index == 1);
  if (lseek(files_[index].get(), 0, SEEK_SET) != 0) return FileError("rewind");
  if (dup2(files_[index].get(), io_.get()) < 0) return FileError("switch to");
  current_ = index;
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> StagingFiles::Length() const {
  ROMULUS_CHECK(current_ >= 0);
  const off_t length = lseek(files_[current_].get(), 0, SEEK_CUR);
  if (length < 0) return FileError("tell the length of");
  return static_cast<uint64_t>(length);
}

absl::StatusOr<uint64_t> StagingFiles::CountPages() const {
  const absl::StatusOr<uint64_t> length = Length();
  if (!length.ok()) return length;
  uint64_t pages = 0;
  for (uint64_t offset = 0; offset + 8 <= *length;) {
    RecordStart record{};
    if (pread(files_[current_].get(), &record, sizeof(record), offset) < 8) return FileError("read back");
    if (record.type == kPageData && record.length >= sizeof(uint32_t)) pages += record.page_count;
    offset += 8 + ((static_cast<uint64_t>(record.length) + 7) & ~uint64_t{7});
  }
  return pages;
}

}  // namespace romulus
