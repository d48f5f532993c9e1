#include "primary/capture/staging_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

// Mapped beyond what is needed now, so that a checkpoint that is a little larger does not need a new mapping.
constexpr uint64_t kMapAhead = uint64_t{1} << 20;

}  // namespace

class StagingFile::Mapping {
 public:
  static absl::StatusOr<std::shared_ptr<const Mapping>> New(int file, uint64_t length) {
    // Populated at once: page faults one by one would cost more, and come while the link waits.
    void* start = mmap(nullptr, length, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
    if (start == MAP_FAILED) {
      return absl::ResourceExhaustedError(
          absl::StrCat("can't map ", length, " bytes of a staging file: ", strerror(errno)));
    }
    return std::shared_ptr<const Mapping>(new Mapping(static_cast<const char*>(start), length));
  }
  ~Mapping() { munmap(const_cast<char*>(start_), length_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  const char* start() const { return start_; }
  uint64_t length() const { return length_; }

 private:
  Mapping(const char* start, uint64_t length) : start_(start), length_(length) {}

  const char* const start_;
  const uint64_t length_;
};

absl::StatusOr<StagingFile> StagingFile::New(const std::string& name) {
  UniqueFd file(memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file.valid() || fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
    return absl::ResourceExhaustedError(absl::StrCat("can't make a staging file: ", strerror(errno)));
  }
  return StagingFile(std::move(file));
}

absl::StatusOr<std::shared_ptr<const absl::Span<const char>>> StagingFile::View(uint64_t length) {
  struct stat status {};
  if (fstat(file_.get(), &status) != 0 || static_cast<uint64_t>(status.st_size) < length) {
    return absl::InvalidArgumentError(
        absl::StrCat("a staging file of ", status.st_size, " bytes can't hold a checkpoint of ", length));
  }
  if (mapping_ == nullptr || mapping_->length() < length) {
    auto mapping = Mapping::New(file_.get(), length + kMapAhead);
    if (!mapping.ok()) return mapping.status();
    mapping_ = *std::move(mapping);
  }
  struct Held {
    std::shared_ptr<const Mapping> mapping;
    absl::Span<const char> bytes;
  };
  const auto held = std::make_shared<const Held>(Held{mapping_, absl::MakeConstSpan(mapping_->start(), length)});
  return std::shared_ptr<const absl::Span<const char>>(held, &held->bytes);
}

}  // namespace romulus
