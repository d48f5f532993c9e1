#include "netbuf/hotplug_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/monotonic_time.h"

namespace romulus {
namespace {

// Between two tries. A script holds the lock for as long as a dozen forks take.
constexpr timespec kRetry = {.tv_sec = 0, .tv_nsec = 2'000'000};

absl::Status Failed(const std::string& what) {
  return absl::InternalError(absl::StrCat(what, ": ", strerror(errno), " (errno ", errno, ")"));
}

// Whether `path` leads to the file that is open as `fd`: its last holder may have removed it since.
bool IsSameFile(int fd, const std::string& path) {
  struct stat opened, linked;
  return fstat(fd, &opened) == 0 && stat(path.c_str(), &linked) == 0 && opened.st_dev == linked.st_dev &&
         opened.st_ino == linked.st_ino;
}

// The locked file, if the lock is held by it; an invalid one if somebody else holds it, or has just removed the file.
absl::StatusOr<UniqueFd> Try(const std::string& path) {
  UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!file.valid()) return Failed(absl::StrCat("opening ", path));
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return Failed(absl::StrCat("locking ", path));
    return UniqueFd();
  }
  return IsSameFile(file.get(), path) ? std::move(file) : UniqueFd();
}

}  // namespace

absl::StatusOr<std::unique_ptr<HotplugLock>> HotplugLock::Acquire(const std::string& directory, const std::string& name,
                                                                  absl::Duration timeout) {
  const std::string path = absl::StrCat(directory, "/", name);
  const absl::Duration deadline = MonotonicNow() + timeout;
  if (mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) return Failed(absl::StrCat("making ", directory));
  while (true) {
    absl::StatusOr<UniqueFd> file = Try(path);
    if (!file.ok()) return file.status();
    if (file->valid()) return std::unique_ptr<HotplugLock>(new HotplugLock(path, *std::move(file)));
    if (MonotonicNow() >= deadline) break;
    nanosleep(&kRetry, nullptr);
  }
  return absl::UnavailableError(absl::StrCat(
      path, ", the host's lock for choosing network devices, was not free for ", absl::FormatDuration(timeout),
      ": another agent or one of Xen's scripts (remus-netbuf-setup) holds it. Try again; if that does not help, ",
      "'lslocks' names the process"));
}

// The file goes while it is locked: whoever waits for it finds that it is the wrong one.
HotplugLock::~HotplugLock() { unlink(path_.c_str()); }

}  // namespace romulus
