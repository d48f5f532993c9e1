#ifndef ROMULUS_PRIMARY_CAPTURE_STAGING_FILE_H_
#define ROMULUS_PRIMARY_CAPTURE_STAGING_FILE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/unique_fd.h"

namespace romulus {

// A memory file that the save helper writes checkpoints into, and that this process reads in place. Its pages stay for
// the next one (how many, is the helper's to decide: StagingMemory); mapping it again would cost as much as a copy.
// It is sealed against shrinking, so that no helper can take pages away while they are read.
class StagingFile {
 public:
  static absl::StatusOr<StagingFile> New(const std::string& name);

  int descriptor() const { return file_.get(); }

  // A view of the first `length` bytes that can be read for as long as it is kept, whatever becomes of the file.
  // INVALID_ARGUMENT: the file does not hold so many.
  absl::StatusOr<std::shared_ptr<const absl::Span<const char>>> View(uint64_t length);

 private:
  class Mapping;

  explicit StagingFile(UniqueFd file) : file_(std::move(file)) {}

  UniqueFd file_;
  std::shared_ptr<const Mapping> mapping_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CAPTURE_STAGING_FILE_H_
