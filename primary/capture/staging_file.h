#ifndef ROMULUS_PRIMARY_CAPTURE_STAGING_FILE_H_
#define ROMULUS_PRIMARY_CAPTURE_STAGING_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace romulus {

// A memory file that the save helper writes checkpoints into. Its pages stay for the next one: a warm page is written
// five times as fast as a fresh one.
class StagingFile {
 public:
  static absl::StatusOr<StagingFile> New(const std::string& name);

  int descriptor() const { return file_.get(); }
  // A descriptor of its own for a reader. INVALID_ARGUMENT: the file does not hold `length` bytes.
  absl::StatusOr<UniqueFd> DuplicateFor(uint64_t length) const;
  // Gives back what one extraordinary checkpoint took: most of a file of which the last checkpoint, with `length`
  // bytes, used little. Only while nobody reads or writes it.
  void Trim(uint64_t length);

 private:
  explicit StagingFile(UniqueFd file) : file_(std::move(file)) {}
  UniqueFd file_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CAPTURE_STAGING_FILE_H_
