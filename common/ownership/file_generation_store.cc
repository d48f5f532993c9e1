#include "common/ownership/file_generation_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <google/protobuf/text_format.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/ownership/generation_record.pb.h"

namespace romulus {
namespace {

constexpr char kSuffix[] = ".generation";
// A record is a few kilobytes; more is not ours.
constexpr size_t kRecordBytesMax = 1 << 20;

// A protection is a resource name, "protections/ledger"; its file is "protections.ledger.generation". An id has no dot.
std::string Translate(std::string text, char from, char to) {
  std::replace(text.begin(), text.end(), from, to);
  return text;
}

absl::Status FileError(const std::string& what, const std::string& path) {
  const int error = errno;
  const std::string text = absl::StrCat("can't ", what, " ", path, ": ", strerror(error));
  return error == ENOENT ? absl::NotFoundError(text) : absl::InternalError(text);
}

absl::Status WriteAll(int fd, const std::string& bytes, const std::string& path) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = write(fd, bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return FileError("write", path);
    done += count;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadAll(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return FileError("open", path);
  std::string bytes;
  char buffer[4096];
  while (bytes.size() <= kRecordBytesMax) {
    const ssize_t count = read(file.get(), buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return FileError("read", path);
    if (count == 0) return bytes;
    bytes.append(buffer, count);
  }
  return absl::DataLossError(absl::StrCat(path, " is too large to be a generation record"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<FileGenerationStore>> FileGenerationStore::Open(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    return absl::FailedPreconditionError(
        absl::StrCat("can't make the state directory ", directory, ": ", error.message(), "; name another one"));
  }
  UniqueFd directory_fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory_fd.valid()) return FileError("open the state directory", directory);
  const std::string lock_path = absl::StrCat(directory, "/lock");
  UniqueFd lock(open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.valid()) return FileError("open", lock_path);
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("another agent uses the state directory ", directory, ": stop it, or name another directory"));
  }
  return std::unique_ptr<FileGenerationStore>(
      new FileGenerationStore(directory, std::move(directory_fd), std::move(lock)));
}

FileGenerationStore::FileGenerationStore(std::string directory, UniqueFd directory_fd, UniqueFd lock)
    : directory_(std::move(directory)), directory_fd_(std::move(directory_fd)), lock_(std::move(lock)) {}

std::string FileGenerationStore::PathOf(const std::string& protection) const {
  return absl::StrCat(directory_, "/", Translate(protection, '/', '.'), kSuffix);
}

absl::StatusOr<GenerationStore::Record> FileGenerationStore::Read(const std::string& protection) const {
  const std::string path = PathOf(protection);
  const absl::StatusOr<std::string> text = ReadAll(path);
  if (!text.ok()) return text.status();
  ownership::GenerationRecord stored;
  if (!google::protobuf::TextFormat::ParseFromString(*text, &stored) || stored.protection() != protection) {
    return absl::DataLossError(absl::StrCat(path, " is not a generation record of protection ", protection,
                                            ": restore it, or remove it if the guest runs nowhere else"));
  }
  return Record{stored.generation(), stored.ownership_moved(), stored.detail()};
}

absl::Status FileGenerationStore::Write(const std::string& protection, const Record& record) {
  ownership::GenerationRecord stored;
  stored.set_protection(protection);
  stored.set_generation(record.generation);
  stored.set_ownership_moved(record.ownership_moved);
  stored.set_detail(record.detail);
  std::string text;
  google::protobuf::TextFormat::PrintToString(stored, &text);

  const std::string path = PathOf(protection);
  const std::string temporary = absl::StrCat(path, ".new");
  const UniqueFd file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file.valid()) return FileError("create", temporary);
  if (absl::Status written = WriteAll(file.get(), text, temporary); !written.ok()) return written;
  if (fsync(file.get()) != 0) return FileError("sync", temporary);
  if (rename(temporary.c_str(), path.c_str()) != 0) return FileError("replace", path);
  if (fsync(directory_fd_.get()) != 0) return FileError("sync", directory_);
  return absl::OkStatus();
}

absl::Status FileGenerationStore::Erase(const std::string& protection) {
  const std::string path = PathOf(protection);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return FileError("remove", path);
  if (fsync(directory_fd_.get()) != 0) return FileError("sync", directory_);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> FileGenerationStore::List() const {
  std::error_code error;
  std::vector<std::string> protections;
  for (const auto& entry : std::filesystem::directory_iterator(directory_, error)) {
    const std::string name = entry.path().filename().string();
    if (!absl::EndsWith(name, kSuffix)) continue;
    protections.push_back(Translate(name.substr(0, name.size() - strlen(kSuffix)), '.', '/'));
  }
  if (error) return absl::InternalError(absl::StrCat("can't list ", directory_, ": ", error.message()));
  std::sort(protections.begin(), protections.end());
  return protections;
}

}  // namespace romulus
