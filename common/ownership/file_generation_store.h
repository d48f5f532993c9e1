#ifndef ROMULUS_COMMON_OWNERSHIP_FILE_GENERATION_STORE_H_
#define ROMULUS_COMMON_OWNERSHIP_FILE_GENERATION_STORE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "common/ownership/generation_store.h"

namespace romulus {

// The real GenerationStore: a directory with one small text file per protection, "protections.<id>.generation".
// A record is written to a temporary file, synced, renamed over the old one, and the directory synced: after a crash
// of the host either the old or the new record is there, whole. The directory is locked: two agents can't share it.
class FileGenerationStore final : public GenerationStore {
 public:
  // Makes the directory (mode 0700) if it is missing. FAILED_PRECONDITION if another process holds it.
  static absl::StatusOr<std::unique_ptr<FileGenerationStore>> Open(const std::string& directory);

  absl::StatusOr<Record> Read(const std::string& protection) const override;
  absl::Status Write(const std::string& protection, const Record& record) override;
  absl::Status Erase(const std::string& protection) override;

  // Protections that have a record ("protections/<id>"), sorted.
  absl::StatusOr<std::vector<std::string>> List() const;

 private:
  FileGenerationStore(std::string directory, UniqueFd directory_fd, UniqueFd lock);
  std::string PathOf(const std::string& protection) const;

  std::string directory_;
  UniqueFd directory_fd_;
  UniqueFd lock_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_OWNERSHIP_FILE_GENERATION_STORE_H_
