#ifndef ROMULUS_PRIMARY_SAVE_HELPER_STAGING_FILES_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_STAGING_FILES_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace romulus {

// The one descriptor that libxc writes to, and what stands behind it: first the seeding pipe, then one of two memory
// files in turn. Files keep their pages when they are used again (a warm page costs a fifth of a fresh one).
class StagingFiles {
 public:
  StagingFiles(UniqueFd seeding_pipe, UniqueFd first, UniqueFd second);

  int io_descriptor() const { return io_.get(); }

  // What is written from now on goes into file `index` (0 or 1) from its start. The first call closes the pipe: its
  // reader sees the end of file.
  absl::Status SwitchTo(int index);

  // Written since SwitchTo.
  absl::StatusOr<uint64_t> Length() const;
  // Page frames in the PAGE_DATA records written since SwitchTo (libxc's stream format, version 3).
  absl::StatusOr<uint64_t> CountPages() const;

 private:
  UniqueFd io_;
  UniqueFd files_[2];
  int current_ = -1;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_STAGING_FILES_H_
